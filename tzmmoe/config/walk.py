"""Ways through a pipeline: its messages, its features, the towers of its model."""

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import join
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.protos.model_pb2 import ModelConfig, TaskTower
from tzmmoe.protos.pipeline_pb2 import Pipeline


def messages(message: Message, path: str = "") -> Iterator[tuple[str, Message]]:
    """Every message that is set, with its path, outer ones first."""
    yield path, message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if not field.is_repeated:
            yield from messages(value, join(path, field.name))
            continue
        for index, element in enumerate(value):
            yield from messages(element, join(path, f"{field.name}[{index}]"))


def features(pipeline: Pipeline) -> Iterator[tuple[str, str | None, FeatureConfig]]:
    """Path, word and message of each feature; the word is None when nothing is chosen."""
    for index, config in enumerate(pipeline.feature_configs):
        word = config.WhichOneof("feature")
        yield f"feature_configs[{index}]", word, getattr(config, word) if word else config


def task_towers(model: ModelConfig) -> list[tuple[str, TaskTower]]:
    """Path and message of each tower that the chosen model has; none when no model is chosen."""
    word, towers = model.WhichOneof("model"), []
    for field in tower_fields(model):
        path, chosen = f"model_config.{word}.{field.name}", getattr(model, word)
        if field.is_repeated:
            several = enumerate(getattr(chosen, field.name))
            towers += [(f"{path}[{index}]", tower) for index, tower in several]
        elif chosen.HasField(field.name):
            towers.append((path, getattr(chosen, field.name)))
    return towers


def tower_fields(model: ModelConfig) -> list[FieldDescriptor]:
    """The fields of the chosen model that hold towers, one or several each."""
    word = model.WhichOneof("model")
    if word is None:
        return []
    fields = getattr(model, word).DESCRIPTOR.fields
    return [field for field in fields if field.message_type == TaskTower.DESCRIPTOR]
