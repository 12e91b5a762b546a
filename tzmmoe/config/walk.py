"""Ways through a pipeline: its messages and its features."""

from collections.abc import Iterator

from google.protobuf.message import Message

from tzmmoe.errors import join
from tzmmoe.protos.feature_pb2 import FeatureConfig
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
