"""From words of the schema to classes."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

from google.protobuf.message import Message

from tzmmoe.errors import ConfigError, within
from tzmmoe.registry.modules import NO_MODULES, Modules, make
from tzmmoe.registry.values import fields

T = TypeVar("T", bound=type)


class Registry(Generic[T]):
    """The class behind each word of one ``oneof`` of the schema.

    The word ``custom`` stands for a class of the user's, whose message has the class's dotted path
    and its arguments; it is not among ``words``.
    """

    OF_CUSTOM: ClassVar[set[str]] = {"class", "args"}  # fields of the message of ``custom``

    def __init__(self, message: type[Message], oneof: str) -> None:
        self.schema = message.DESCRIPTOR.oneofs_by_name[oneof]
        by_word = {field.name: field.message_type.fields_by_name for field in self.schema.fields}
        custom = [word for word, fields in by_word.items() if {*fields} >= self.OF_CUSTOM]
        self.custom = custom[0] if custom else None
        self.words = tuple(word for word in by_word if word not in custom)
        self._classes: dict[str, T] = {}
        self._base: type = object

    def base(self, cls: T) -> T:
        """Register the class from which those of users must be derived."""
        self._base = cls
        return cls

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

    def kind(self, word: str, arguments: Mapping[str, Any], modules: Modules) -> T:
        """The class behind a word. ``arguments`` are the fields of its message.

        Raises ConfigError if it is a class of the user's that cannot be had.
        """
        if word != self.custom:
            return self._classes[word]
        with within("class"):
            return modules.find(arguments["class"], self._base)

    def create(self, message: Message, modules: Modules = NO_MODULES) -> Any:
        """An object of the class behind the word that a message sets, made from its fields."""
        word, arguments = self.chosen(message)
        kind = self.kind(word, arguments, modules)
        if word == self.custom:
            return self.make(kind, (), arguments["args"])
        return kind(**arguments)

    def name(self, message: Message) -> str:
        """The word that a message sets, or the name of the user's class."""
        word, arguments = self.chosen(message)
        if word != self.custom:
            return word
        name = (arguments["class"] or "").rpartition(".")[2]
        if name in self.words:
            words = f"is {arguments['class']!r}, but results already call something else {name}"
            raise ConfigError.at("class", f"{words}; rename the class")
        return name

    def make(self, kind: T, given: Sequence[Any], args: Mapping[str, Any] | None) -> Any:
        """An object of a class of the user's, as ``modules.make`` does.

        Raises ConfigError also if it lacks an attribute that every object has.
        """
        made = make(kind, given, args)
        lacking = [name for name in self._base.__annotations__ if not hasattr(made, name)]
        if lacking:
            words = f"{kind.__qualname__} does not set {', '.join(lacking)}"
            raise ConfigError.at("class", f"{words}; set it in the class or in its constructor")
        return made


def import_all(package: str, path: list[str]) -> list[ModuleType]:
    """Import every module of a package, so that each registers its classes; the modules by name."""
    names = [f"{package}.{module.name}" for module in pkgutil.iter_modules(path)]
    return [importlib.import_module(name) for name in names]
