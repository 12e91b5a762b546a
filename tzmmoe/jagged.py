"""The one ragged type, from a decoded column to the model: rows of any number of values.

Two letters more than in the rest of the package: N values and M items of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

Flat = pa.Array | np.ndarray | Tensor


@dataclass(frozen=True, eq=False)
class Jagged:
    """The values of B rows, row after row.

    values: (N,), an Arrow array (dictionary-encoded where texts repeat), a numpy array or a tensor.
    lengths: (B,) int64, the number of values in each row; or (B, F), that of each of F features,
    whose values alternate row by row. None: exactly one each, and values are (B,) or (B, F).
    weights: float32, a factor for each value, or None.
    inner: (M,) int64 where rows hold items, such as the events of a sequence, and the items hold
    the values: ``lengths`` then counts the items of each row, ``inner`` the values of each item.

    The operations are for Arrow and numpy, before batches are cut; tensors can only be mapped.
    """

    values: Flat
    lengths: np.ndarray | Tensor | None = None
    weights: np.ndarray | Tensor | None = None
    inner: np.ndarray | Tensor | None = None

    @property
    def num_values(self) -> int:
        return len(self.values)

    @property
    def flat(self) -> Flat:
        """(N,) values, also where they are (B, F)."""
        return self.values if self.lengths is not None else self.values.flatten()

    @property
    def num_rows(self) -> int:
        owners = (self.lengths, self.inner, self.values)
        return len(next(part for part in owners if part is not None))

    @cached_property
    def counts(self) -> np.ndarray:
        """``lengths``, also where it is None."""
        if self.lengths is not None:
            return self.lengths
        shape = getattr(self.values, "shape", None) if self.inner is None else self.inner.shape
        return np.ones(shape or len(self.values), np.int64)

    @cached_property
    def starts(self) -> np.ndarray:
        """(B + 1,): where the values (or items) of each row begin, and where the last ones end."""
        sizes = self.counts if self.counts.ndim == 1 else self.counts.sum(axis=1)
        return np.concatenate([[0], np.cumsum(sizes)])

    @cached_property
    def items(self) -> "Jagged":
        """The items of all rows, each as a row of its own."""
        return Jagged(self.values, self.inner, self.weights)

    def grouped(self, lengths: np.ndarray | None) -> "Jagged":
        """The inverse of ``items``: takes each row as an item, and ``lengths`` items as a row."""
        return Jagged(self.values, lengths, self.weights, self.counts)

    def row_of(self, value: int) -> int:
        """The row of the value at place ``value`` among all values."""
        if self.inner is not None:
            value = self.items.row_of(value)
        if self.lengths is None:
            return value
        return int(np.searchsorted(self.starts[1:], value, side="right"))

    def empty(self) -> np.ndarray | None:
        """(B,) bool, True for rows without values or items; None if there are none."""
        if self.lengths is None:
            return None
        empty = np.diff(self.starts) == 0
        return empty if empty.any() else None

    def take(self, rows: np.ndarray) -> "Jagged":
        """The rows with these numbers, in this order; numbers may repeat."""
        if self.inner is not None:
            return self._of_items(lambda numbers: numbers.take(rows))
        if self.lengths is None:
            return self._picked(rows, None)
        begins, ends = self.starts[:-1][rows], self.starts[1:][rows]
        return self._picked(ranges(begins, ends - begins), self.lengths[rows])

    def slice(self, begin: int, end: int) -> "Jagged":
        """The rows [begin, end), without a copy."""
        if self.lengths is None and self.inner is None:
            first, last, lengths = begin, end, None
        else:
            first, last = self.starts[begin], self.starts[end]
            lengths = None if self.lengths is None else self.lengths[begin:end]
        if self.inner is not None:
            return self.items.slice(first, last).grouped(lengths)
        weights = None if self.weights is None else self.weights[first:last]
        return Jagged(self.values[first:last], lengths, weights)

    def keep(self, kept: np.ndarray) -> "Jagged":
        """Only the values that are True in (N,) bool; items and rows may become empty."""
        if self.inner is not None:
            return self.items.keep(kept).grouped(self.lengths)
        if kept.all():
            return self
        if self.lengths is None:
            return self._picked(kept, kept.astype(np.int64))
        cells = np.repeat(np.arange(self.lengths.size), self.lengths.ravel())
        lengths = np.bincount(cells[kept], minlength=self.lengths.size)
        return self._picked(kept, lengths.reshape(self.lengths.shape))

    def first(self, most: int) -> "Jagged":
        """At most the first ``most`` values (or items) of each row and feature."""
        if self.inner is not None:
            return self._of_items(lambda numbers: numbers.first(most))
        if self.lengths is None or not (self.lengths > most).any():
            return self
        cells = self.lengths.ravel()
        place = np.arange(len(self.values)) - np.repeat(np.cumsum(cells) - cells, cells)
        return self._picked(place < most, np.minimum(self.lengths, most))

    def without(self, rows: np.ndarray) -> "Jagged":
        """The same, but empty in the rows that are True in (B,) bool."""
        if self.inner is not None:
            return self._of_items(lambda numbers: numbers.without(rows))
        return self.keep(~np.repeat(rows, np.diff(self.starts)))

    def filled(self, default: "Jagged") -> "Jagged":
        """The same, with the only row of ``default`` in place of each empty row."""
        empty = self.empty()
        if empty is None or not default.num_values:
            return self
        rows = np.where(empty, self.num_rows, np.arange(self.num_rows))
        filled = concatenated([self, default]).take(rows)
        return replace(filled, lengths=None) if (filled.lengths == 1).all() else filled

    def map(self, change: Callable[[Any], Any]) -> "Jagged":
        """The same with ``change`` applied to each part, for example to move it to a device."""
        parts = (self.values, self.lengths, self.weights, self.inner)
        return Jagged(*(None if part is None else change(part) for part in parts))

    def tensors(self) -> "Jagged":
        """As tensors that share the memory of numpy's arrays."""
        return self.map(torch.from_numpy)

    def _of_items(self, change: Callable[["Jagged"], "Jagged"]) -> "Jagged":
        """Apply to the items of the rows what ``change`` does to the items' numbers."""
        numbers = change(Jagged(np.arange(len(self.inner)), self.lengths))
        return self.items.take(numbers.values).grouped(numbers.lengths)

    def _picked(self, chosen: np.ndarray, lengths: np.ndarray | None) -> "Jagged":
        """The values at these places, or those that are True, in rows of these lengths."""
        values = self.values
        if not isinstance(values, pa.Array):
            values = values[chosen]
        elif chosen.dtype == bool:
            values = values.filter(pa.array(chosen))
        else:
            values = values.take(pa.array(chosen))
        return Jagged(values, lengths, None if self.weights is None else self.weights[chosen])


def ranges(begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """sizes[0] numbers that count up from begins[0], then sizes[1] from begins[1], ..."""
    before = np.cumsum(sizes) - sizes
    numbers = np.repeat(begins - before, sizes)
    numbers += np.arange(len(numbers))
    return numbers


def concatenated(parts: Sequence[Jagged]) -> Jagged:
    """The rows of all parts. If only some have weights, those of the others are 1."""
    if any(part.inner is not None for part in parts):
        items = concatenated([part.items for part in parts])
        return items.grouped(np.concatenate([part.counts for part in parts]))
    lengths = None
    if any(part.lengths is not None for part in parts):
        lengths = np.concatenate([part.counts for part in parts])
    weights = None
    if any(part.weights is not None for part in parts):
        weights = np.concatenate([_weights(part) for part in parts])
    flat = [part.values for part in parts]
    if lengths is not None and not isinstance(flat[0], pa.Array):
        flat = [values.ravel() for values in flat]  # they are (B, F) where all lengths are 1
    join = pa.concat_arrays if isinstance(flat[0], pa.Array) else np.concatenate
    return Jagged(join(flat), lengths, weights)


def _weights(part: Jagged) -> np.ndarray:
    return np.ones(len(part.values), np.float32) if part.weights is None else part.weights


def side_by_side(parts: Sequence[Jagged]) -> Jagged:
    """Ids of F features for the same B rows, (B,) each -> one (B, F), row after row."""
    if all(part.lengths is None and part.weights is None for part in parts):
        return Jagged(np.stack([part.values for part in parts], axis=1))
    lengths = np.empty((parts[0].num_rows, len(parts)), np.int64)
    for place, part in enumerate(parts):
        lengths[:, place] = 1 if part.lengths is None else part.lengths
    starts = (np.cumsum(lengths) - lengths.ravel()).reshape(lengths.shape)
    values = np.empty(int(lengths.sum()), np.int64)
    weighted = any(part.weights is not None for part in parts)
    weights = np.ones(len(values), np.float32) if weighted else None
    for place, part in enumerate(parts):
        at = starts[:, place]
        if part.lengths is not None:
            at = ranges(at, part.lengths)
        values[at] = part.values
        if weights is not None and part.weights is not None:
            weights[at] = part.weights
    return Jagged(values, lengths, weights)
