"""What a schema's descriptors cannot say, so that the text engine needs no field's name."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor


@dataclass(frozen=True)
class SchemaFacts:
    """What reading and editing ask about a schema; whoever owns the schema fills this in.

    ``unknown_field(word, owner)`` and ``unknown_value(word, known)`` word the fault of a field that
    the message lacks and of a value that the enum lacks; both continue a path. ``exclusive``: by
    message, sets of fields of which at most one may be set. ``units``: by ``Message.field``, the
    unit to suggest where a text field was given a bare number.
    """

    unknown_field: Callable[[str, Descriptor], str]
    unknown_value: Callable[[str, Iterable[str]], str]
    exclusive: Mapping[str, Sequence[Set[str]]]
    units: Mapping[str, str]

    def rivals(self, owner: Descriptor, name: str) -> set[str]:
        """The fields that may not be set together with the field ``name``."""
        groups = (group for group in self.exclusive.get(owner.name, ()) if name in group)
        return {rival for group in groups for rival in group} - {name}
