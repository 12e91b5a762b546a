"""A path of the config, such as ``feature_configs[feature_name=age].raw_feature.boundaries`` -> the
fields it names.

A repeated field takes ``[2]``, ``[:]``, ``[1:3]`` or ``[name=value]``. The last selects elements
whose field ``name``, or that of the message their oneof sets, has the value; several conditions are
joined by ``;``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import ConfigError, join
from tzmmoe.textformat.facts import SchemaFacts

STEP = re.compile(r"(?P<name>\w+)(?:\[(?P<index>[^\]]*)\])?(?:\.(?=.)|$)")


@dataclass(frozen=True)
class Target:
    """A field of a message, or with an index one of its elements; ``path`` is the message's."""

    owner: Message
    path: str
    field: FieldDescriptor
    index: int | None

    @property
    def full_path(self) -> str:
        element = "" if self.index is None else f"[{self.index}]"
        return join(self.path, f"{self.field.name}{element}")


def targets(root: Message, path: str, facts: SchemaFacts) -> Iterator[Target]:
    """The fields that a path names. Raises ConfigError if the schema has no such path."""
    steps = list(STEP.finditer(path))
    if not steps or "".join(step.group() for step in steps) != path:
        raise ConfigError.at(path, "is not a path; write names joined by dots, such as a.b[0].c")
    owners, several = [(root, "")], False
    for step in steps[:-1]:
        inner = [t for owner, here in owners for t in _fields(owner, here, step, path, facts)]
        if several:  # skip elements of another kind
            inner = [target for target in inner if not rival(target.owner, target.field)]
        owners = [_inside(target, path) for target in inner]
        several = several or bool(re.search("[:=]", step["index"] or ""))
    for owner, here in owners:
        yield from _fields(owner, here, steps[-1], path, facts)


def _fields(
    owner: Message, here: str, step: re.Match, path: str, facts: SchemaFacts
) -> Iterator[Target]:
    """The fields or elements that one step of a path names in a message."""
    name, index = step["name"], step["index"]
    field = owner.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise ConfigError.at(path, f"{name!r}: {facts.unknown_field(name, owner.DESCRIPTOR)}")
    if index is None:
        yield Target(owner, here, field, None)
        return
    if not field.is_repeated:
        raise ConfigError.at(path, f"{name} is not repeated; leave out its index")
    if is_map(field):
        raise ConfigError.at(path, f'{name} is a map; give it whole, as {{"word": 2}}')
    for number in _chosen(getattr(owner, name), index, path):
        yield Target(owner, here, field, number)


def _inside(target: Target, path: str) -> tuple[Message, str]:
    """The message that a target is, and its path."""
    name = target.field.name
    if target.field.message_type is None:
        raise ConfigError.at(path, f"{name} has no fields")
    if not target.field.is_repeated:
        return getattr(target.owner, name), target.full_path
    if target.index is None:
        raise ConfigError.at(path, f"{name} is repeated; choose an element, such as {name}[0]")
    return getattr(target.owner, name)[target.index], target.full_path


def _chosen(elements: Sequence, index: str, path: str) -> list[int]:
    """The positions of the elements that an index names."""
    if re.fullmatch(r"-?\d+", index):
        if not -len(elements) <= int(index) < len(elements):
            count = len(elements)
            raise ConfigError.at(path, f"[{index}] is out of range; the field has {count} elements")
        return [int(index) % len(elements)]
    if ends := re.fullmatch(r"(-?\d*):(-?\d*)", index):
        bounds = [int(end) if end not in ("", "-") else None for end in ends.groups()]
        return list(range(len(elements)))[slice(*bounds)]
    conditions = [part.partition("=")[::2] for part in index.split(";")]
    if not all(name and value for name, value in conditions):
        forms = "[0], [:], [1:3] or [name=value]"
        raise ConfigError.at(path, f"[{index}] is not an index; write {forms}")
    return [
        number
        for number, element in enumerate(elements)
        if all(value in _values(element, name) for name, value in conditions)
    ]


def _values(element: Any, name: str) -> list[str]:
    """The field's value as text, from the element itself and from the message its oneof sets."""
    if not isinstance(element, Message):
        return []
    inner = [value for _, value in element.ListFields() if isinstance(value, Message)]
    owners = [owner for owner in (element, *inner) if name in owner.DESCRIPTOR.fields_by_name]
    return [_text(owner, name) for owner in owners if is_set(owner, name)]


def _text(message: Message, name: str) -> str:
    """A field's value as a config spells it."""
    value, field = getattr(message, name), message.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None and not field.is_repeated:
        return field.enum_type.values_by_number[value].name
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def is_set(message: Message, name: str) -> bool:
    if message.DESCRIPTOR.fields_by_name[name].is_repeated:
        return len(getattr(message, name)) > 0
    return message.HasField(name)


def rival(message: Message, field: FieldDescriptor) -> str | None:
    """The other member of the field's oneof that the message sets, if any."""
    oneof = field.containing_oneof
    member = message.WhichOneof(oneof.name) if oneof is not None else None
    return None if member == field.name else member
