"""What a schema's descriptors cannot express, so that the text engine knows no field by name."""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor


@dataclass(frozen=True)
class SchemaFacts:
    """What reading and editing ask about a schema.

    ``unknown_field(word, owner)`` and ``unknown_value(word, values)`` phrase the fault of a field
    that the message lacks and of a value that the enum lacks; both continue a path. ``exclusive``:
    by message, sets of fields of which at most one may be set. ``units``: by ``Message.field``, the
    unit to suggest where a string field is set to a bare number. ``positive``: as
    ``Message.field``, the unsigned fields that must not be 0.
    """

    unknown_field: Callable[[str, Descriptor], str]
    unknown_value: Callable[[str, Collection[str]], str]
    exclusive: Mapping[str, Sequence[Set[str]]]
    units: Mapping[str, str]
    positive: Collection[str] = ()

    def rivals(self, owner: Descriptor, name: str) -> set[str]:
        """The fields that must not be set together with the field ``name``."""
        groups = (group for group in self.exclusive.get(owner.name, ()) if name in group)
        return {rival for group in groups for rival in group} - {name}
