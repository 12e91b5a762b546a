"""Where each feature lies in a batch: among the ids of its width, or among the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from tzmmoe.features.base import Feature


@dataclass(frozen=True)
class Layout:
    """ids: width -> the features of that width, in the order of a batch's ids.
    numbers: each feature with its columns [begin, end) of a batch's numbers."""

    ids: dict[int, tuple[Feature, ...]]
    numbers: tuple[tuple[Feature, int, int], ...]

    @classmethod
    def of(cls, features: Sequence[Feature]) -> "Layout":
        widths = sorted({feature.table.dim for feature in features if feature.table})
        ids = {
            width: tuple(f for f in features if f.table and f.table.dim == width)
            for width in widths
        }
        numbers, begin = [], 0
        for feature in features:
            if feature.table is None:
                numbers.append((feature, begin, begin + feature.value_dim))
                begin += feature.value_dim
        return cls(ids, tuple(numbers))

    @property
    def num_numbers(self) -> int:
        return self.numbers[-1][2] if self.numbers else 0
