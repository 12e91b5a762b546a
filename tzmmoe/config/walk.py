"""Ways through a pipeline: its messages and its features."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import join
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.protos.model_pb2 import ModelConfig
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


Tower = Message  # a TaskTower, or a message with its fields and more


def tower_fields(model: Descriptor) -> list[FieldDescriptor]:
    """Fields of a model's message that are towers, such as ``task_towers`` or ``ctr_tower``."""
    return [
        field
        for field in model.fields
        if field.message_type and "tower_name" in field.message_type.fields_by_name
    ]


def task_towers(config: ModelConfig) -> list[tuple[str, Tower]]:
    """Path and message of each tower of the model that is chosen; none when none is."""
    found = []
    for path, field, model in _fields(config):
        value = getattr(model, field.name)
        if field.is_repeated:
            found += [(f"{path}[{index}]", tower) for index, tower in enumerate(value)]
        elif model.HasField(field.name):
            found.append((path, value))
    return found


def missing_towers(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Path of each field that lacks its tower, or all of them, and what to say."""
    for path, field, model in _fields(config):
        if field.is_repeated and not getattr(model, field.name):
            yield path, "is empty; give one tower for each task"
        elif not field.is_repeated and not model.HasField(field.name):
            yield path, f"is not set; give {field.name} {{ ... }}"


def name_towers(config: ModelConfig) -> None:
    """A tower with a field to itself is named after it: that of ``ctr_tower`` is ``ctr``."""
    for _, field, model in _fields(config):
        if not field.is_repeated and model.HasField(field.name):
            tower = getattr(model, field.name)
            if not tower.HasField("tower_name"):
                tower.tower_name = field.name.removesuffix("_tower")


def further_labels(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Path and value of the model's own fields that name a label: ``*_label``."""
    word = config.WhichOneof("model")
    for field, value in getattr(config, word).ListFields() if word else ():
        if field.name.endswith("_label"):
            yield f"model_config.{word}.{field.name}", value


def _fields(config: ModelConfig) -> Iterator[tuple[str, FieldDescriptor, Message]]:
    """Path and field of each kind of tower, and the model's message."""
    word = config.WhichOneof("model")
    if word is not None:
        model = getattr(config, word)
        for field in tower_fields(model.DESCRIPTOR):
            yield f"model_config.{word}.{field.name}", field, model
