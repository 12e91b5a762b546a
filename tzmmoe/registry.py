"""From words of the schema to classes, and from messages to plain values."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

T = TypeVar("T", bound=type)


def fields(message: Message) -> dict[str, Any]:
    """The fields of a message by name, with defaults for those that are unset.

    Repeated fields become tuples, maps and messages dicts, enum values their names. An unset
    message, or an unset field without a default in the schema, is None. Fields that the schema
    marks as deprecated are aliases and left out.
    """
    return {
        field.name: _value(message, field)
        for field in message.DESCRIPTOR.fields
        if not field.GetOptions().deprecated
    }


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


@dataclass(frozen=True)
class Choice:
    """What a ``oneof`` of the schema is set to: a word, and the fields of its message."""

    word: str | None
    arguments: dict[str, Any]


class Registry(Generic[T]):
    """The class behind each word of one ``oneof`` of the schema."""

    def __init__(self, message: type[Message], oneof: str) -> None:
        self.schema = message.DESCRIPTOR.oneofs_by_name[oneof]
        self.words = tuple(field.name for field in self.schema.fields)
        self._classes: dict[str, T] = {}

    def register(self, word: str) -> Callable[[T], T]:
        """Register the class behind a word. TypeError if the schema lacks the word."""
        if word not in self.words:
            raise TypeError(f"{word!r} is not in {self.schema.full_name}: {', '.join(self.words)}")
        if word in self._classes:
            owner = self._classes[word].__name__
            raise TypeError(f"{word!r} is already registered for {owner}")

        def decorate(cls: T) -> T:
            self._classes[word] = cls
            return cls

        return decorate

    def __getitem__(self, word: str) -> T:
        return self._classes[word]

    def __contains__(self, word: str) -> bool:
        return word in self._classes

    def chosen(self, message: Message) -> tuple[str, dict[str, Any]]:
        """The word that a message sets, and the fields of the message behind it."""
        word = message.WhichOneof(self.schema.name)
        return word, fields(getattr(message, word))

    def create(self, message: Message) -> Any:
        """An object of the class behind the word that a message sets, made from its fields."""
        word, arguments = self.chosen(message)
        return self._classes[word](**arguments)


def import_all(package: str, path: list[str]) -> list[ModuleType]:
    """Import every module of a package, so that each registers its classes; the modules by name."""
    names = [f"{package}.{module.name}" for module in pkgutil.iter_modules(path)]
    return [importlib.import_module(name) for name in names]
