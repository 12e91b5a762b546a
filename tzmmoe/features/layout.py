"""Where each feature lies in a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tzmmoe.features.base import Feature


@dataclass(frozen=True)
class Slot:
    """A feature's part of a batch.

    pooled: ids whose embeddings become one, of ``width``; ``place`` counts among the features whose
    ids lie side by side, which are those of this width. sequence: ids that stay apart, each with an
    embedding of ``width``, in an array of their own. number: ``width`` columns of the batch's
    numbers, from ``place`` on.
    """

    kind: Literal["pooled", "sequence", "number"]
    feature: Feature
    width: int
    place: int

    @property
    def end(self) -> int:
        """After the last of a number's columns."""
        return self.place + self.width


@dataclass(frozen=True)
class Layout:
    """The slots of a batch, in the order of the features."""

    slots: tuple[Slot, ...]

    @classmethod
    def of(cls, features: Sequence[Feature]) -> "Layout":
        slots: list[Slot] = []
        places: dict[int | None, int] = {}  # the next one by width of ids, None for numbers
        for feature in features:
            if feature.is_sequence:
                slots.append(Slot("sequence", feature, feature.table.dim, 0))
                continue
            key = feature.table.dim if feature.table else None
            kind, width = ("pooled", key) if key else ("number", feature.value_dim)
            place = places.get(key, 0)
            slots.append(Slot(kind, feature, width, place))
            places[key] = place + (1 if key else width)
        return cls(tuple(slots))

    @cached_property
    def pooled(self) -> dict[int, tuple[Slot, ...]]:
        """By width, in ascending order, those whose ids lie side by side."""
        slots = [slot for slot in self.slots if slot.kind == "pooled"]
        widths = sorted({slot.width for slot in slots})
        return {width: tuple(slot for slot in slots if slot.width == width) for width in widths}

    @cached_property
    def sequences(self) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.kind == "sequence")

    @cached_property
    def numbers(self) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.kind == "number")

    @property
    def num_numbers(self) -> int:
        return self.numbers[-1].end if self.numbers else 0

    def weighted(self, width: int) -> bool:
        """Whether the pooled ids of this width have weights."""
        return any(slot.feature.weighted for slot in self.pooled[width])
