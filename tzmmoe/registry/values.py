"""Messages -> plain values."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

ARGS = "Args"  # the message whose fields have any names


def fields(message: Message) -> dict[str, Any]:
    """The fields of a message by name, with defaults for those that are unset.

    Repeated fields become tuples, maps and messages dicts, enum values their names. An unset
    message, or an unset field without a default in the schema, is None. Fields that the schema
    marks as deprecated are aliases and left out. The fields of ``Args`` are those that the user
    named.
    """
    if message.DESCRIPTOR.name == ARGS:
        return {entry.name: _named_value(entry) for entry in message.named_value}
    return {
        field.name: _value(message, field)
        for field in message.DESCRIPTOR.fields
        if not field.GetOptions().deprecated
    }


@dataclass(frozen=True)
class Choice:
    """What a ``oneof`` of the schema is set to: a word, and the fields of its message."""

    word: str | None
    arguments: dict[str, Any]


def _value(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        if field.message_type is None:
            return tuple(value)
        if field.message_type.GetOptions().map_entry:
            return dict(value)
        return tuple(fields(item) for item in value)
    if field.message_type is not None:
        return fields(value) if message.HasField(field.name) else None
    if not (message.HasField(field.name) or field.has_default_value):
        return None
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value


def _named_value(entry: Message) -> Any:
    """Lists become lists, so that they are the same once they have been in JSON."""
    word = entry.WhichOneof("value")
    if word == "list":
        return [_named_value(item) for item in entry.list.item]
    if word == "args":
        return fields(entry.args)
    return getattr(entry, word) if word else None
