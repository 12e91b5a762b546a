"""What a schema's descriptors cannot express, so that the text engine knows no field by name."""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor


@dataclass(frozen=True)
class SchemaFacts:
    """What reading and editing ask about a schema.

    ``unknown_field(word, owner)`` and ``unknown_value(word, values)`` phrase the fault of a field
    that the message lacks and of a value that the enum lacks; both continue a path. ``exclusive``:
    by message, sets of fields of which at most one may be set. ``replacing``: by message, sets of
    fields that may be set together, but of which an edit of one unsets those that no edit sets.
    ``units``: by ``Message.field``, the unit to suggest where a string field is set to a bare
    number. ``positive``: as ``Message.field``, the unsigned fields that must not be 0. ``beside``:
    by message, for a field of a text, the fields that are read as another while it is there too.
    ``remedies``: by message, for a field that excludes others, what to write instead of both.
    """

    unknown_field: Callable[[str, Descriptor], str]
    unknown_value: Callable[[str, Collection[str]], str]
    exclusive: Mapping[str, Sequence[Set[str]]]
    units: Mapping[str, str]
    positive: Collection[str] = ()
    replacing: Mapping[str, Sequence[Set[str]]] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    remedies: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def rivals(self, owner: Descriptor, name: str) -> set[str]:
        """The fields that an edit of the field ``name`` unsets."""
        return _others(self.exclusive, owner, name) | self.replaced(owner, name)

    def replaced(self, owner: Descriptor, name: str) -> set[str]:
        """Those of them that stay if an edit has set them."""
        return _others(self.replacing, owner, name)

    def clash(self, owner: Descriptor, name: str, other: str) -> str:
        """The error of a field that is set together with one that it excludes."""
        remedies = self.remedies.get(owner.name, {})
        remedy = remedies.get(name) or remedies.get(other, "")
        return f"is set, and so is {other}; keep one{remedy and f', or {remedy}'}"

    def read_as(self, owner: Descriptor, names: Collection[str]) -> dict[str, str]:
        """Of the fields of a text, those that are read as others."""
        rules = self.beside.get(owner.name, {})
        pairs = (pair for name in rules.keys() & set(names) for pair in rules[name].items())
        return {name: other for name, other in pairs if other not in names}


def _others(groups: Mapping[str, Sequence[Set[str]]], owner: Descriptor, name: str) -> set[str]:
    """The fields in the same sets as the field ``name``."""
    sharing = (group for group in groups.get(owner.name, ()) if name in group)
    return {other for group in sharing for other in group} - {name}
