"""Walks over a pipeline: its messages, features and towers."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import join
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline


def messages(message: Message, path: str = "") -> Iterator[tuple[str, Message]]:
    """Every message that is set, with its path; outer messages come first."""
    yield path, message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if not field.is_repeated:
            yield from messages(value, join(path, field.name))
            continue
        for index, element in enumerate(value):
            yield from messages(element, join(path, f"{field.name}[{index}]"))


def custom_classes(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Path of the message and dotted path of each class of the user's."""
    for path, message in messages(pipeline):
        if "class" in message.DESCRIPTOR.fields_by_name:
            yield path, getattr(message, "class")


def features(pipeline: Pipeline) -> Iterator[tuple[str, str | None, FeatureConfig]]:
    """Path, word and message of each feature; the word is None if no kind is chosen."""
    for index, config in enumerate(pipeline.feature_configs):
        word = config.WhichOneof("feature")
        yield f"feature_configs[{index}]", word, getattr(config, word) if word else config


Tower = Message  # a TaskTower, or a message with its fields and others


def tower_fields(model: Descriptor) -> list[FieldDescriptor]:
    """The tower fields of a model's message, such as ``task_towers`` or ``ctr_tower``."""
    return [
        field
        for field in model.fields
        if field.message_type and "tower_name" in field.message_type.fields_by_name
    ]


def task_towers(config: ModelConfig) -> list[tuple[str, Tower]]:
    """Path and message of each tower of the chosen model, if any."""
    towers = []
    for path, field, model in _fields(config):
        value = getattr(model, field.name)
        if field.is_repeated:
            towers += [(f"{path}[{index}]", tower) for index, tower in enumerate(value)]
        elif model.HasField(field.name):
            towers.append((path, value))
    return towers


def missing_towers(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Path and fault of each tower field that is empty."""
    for path, field, model in _fields(config):
        if field.is_repeated and not getattr(model, field.name):
            yield path, "is empty; give one tower for each task"
        elif not field.is_repeated and not model.HasField(field.name):
            yield path, f"is not set; give {field.name} {{ ... }}"


def name_towers(config: ModelConfig) -> None:
    """Name each tower that has a field of its own after it: ``ctr`` in ``ctr_tower``."""
    for _, field, model in _fields(config):
        if not field.is_repeated and model.HasField(field.name):
            tower = getattr(model, field.name)
            if not tower.HasField("tower_name"):
                tower.tower_name = field.name.removesuffix("_tower")


def further_labels(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Path and value of each ``*_label`` field of the model itself."""
    word = config.WhichOneof("model")
    for field, value in getattr(config, word).ListFields() if word else ():
        if field.name.endswith("_label"):
            yield f"model_config.{word}.{field.name}", value


def _fields(config: ModelConfig) -> Iterator[tuple[str, FieldDescriptor, Message]]:
    """Path of each tower field, the field, and the model's message."""
    word = config.WhichOneof("model")
    if word is not None:
        model = getattr(config, word)
        for field in tower_fields(model.DESCRIPTOR):
            yield f"model_config.{word}.{field.name}", field, model
