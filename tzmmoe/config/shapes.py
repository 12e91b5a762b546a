"""Settings that shape the weights of a model: where two configs differ in them."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.config.walk import features, messages
from tzmmoe.errors import join
from tzmmoe.protos.pipeline_pb2 import Pipeline

# Of these types; other numbers are rates and weights.
SHAPING = (
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_BOOL,
)
# Strings and enums that shape weights; others are names and labels.
WORDS = ("activation", "embedding_name", "class", "group_type")
WITHOUT_WEIGHTS = ("metrics", "losses")


def changes(saved: str, current: str) -> Iterator[str]:
    """A line for each setting of a feature that both have, or of the model, with both values.

    Nothing is known of a ``saved`` config of another version that cannot be read.
    """
    before, after = Pipeline(), text_format.Parse(current, Pipeline())
    try:
        text_format.Parse(saved, before, allow_unknown_field=True)
    except text_format.ParseError:
        return
    own = {message.feature_name: message for _, word, message in features(before) if word}
    for _, word, message in features(after):
        if word and message.feature_name in own:
            pair = (_settings(each) for each in (own[message.feature_name], message))
            for name, was, is_now in _changed(*pair):
                yield f"{message.feature_name}: {name} was {was}, and is {is_now} in the config"
    pair = (_settings(each.model_config, "model_config") for each in (before, after))
    for path, was, is_now in _changed(*pair):
        yield f"{path}: was {was}, and is {is_now} in the config"


Settings = Mapping[str, tuple[FieldDescriptor, Any]]


def _settings(message: Message, path: str = "") -> Settings:
    """{path: field and value} of the shaping settings that are set. At the path of a block, the
    value is the word of its layer."""
    settings = {}
    for place, part in messages(message, path):
        if any(f".{name}[" in place for name in WITHOUT_WEIGHTS):
            continue
        for field, value in part.ListFields():
            if field.cpp_type in SHAPING or field.name in WORDS:
                settings[join(place, field.name)] = field, _plain(field, value)
        if part.DESCRIPTOR.name == "Block" and (word := part.WhichOneof("layer")):
            settings[place] = part.DESCRIPTOR.fields_by_name[word], word
    return settings


def _plain(field: FieldDescriptor, value: Any) -> Any:
    """The name of an enum's value, a list for a repeated field, any other value as it is."""
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return list(value) if field.is_repeated else value


def _changed(before: Settings, after: Settings) -> Iterator[tuple[str, str, str]]:
    for path in dict.fromkeys([*before, *after]):
        field = (before if path in before else after)[path][0]
        was, is_now = (side[path][1] if path in side else _unset(field) for side in (before, after))
        if was != is_now:
            yield path, _shown(was), _shown(is_now)


def _unset(field: FieldDescriptor) -> Any:
    return _plain(field, field.default_value) if field.has_default_value else None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "not set" if value is None else str(value)
