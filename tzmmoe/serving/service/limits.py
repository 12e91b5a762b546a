"""How much one request may hold, found out before anything is made of it."""

import sys
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.errors import ConfigError, DataError
from tzmmoe.features.column import is_list
from tzmmoe.features.forms import is_text
from tzmmoe.serving.cells import LISTS, Cells
from tzmmoe.serving.service.faults import RowFaults
from tzmmoe.system.runtime import short_bytes

NAME = "request"  # in errors, in place of a file
NUMBER_BYTES = 8
NUMBERS = {int, float, bool}
CHARACTER_BYTES = 4  # at most, in UTF-8
ITERATED = (list, tuple, set, frozenset, dict)


@dataclass(frozen=True)
class Size:
    """Of each row (B,): the number of values, bytes of the longest text, and bytes of all."""

    values: np.ndarray
    longest: np.ndarray
    total: np.ndarray


@dataclass(frozen=True)
class Limits:
    """How much one request may hold; None is any amount.

    ``rows``. ``values``: in one cell, such as a list. ``text_bytes``: of one text, before it is cut
    at a separator. ``request_bytes``: of all values that features read, with 8 for each number.
    """

    rows: int | None = 100_000
    values: int | None = 10_000
    text_bytes: int | None = 1 << 16
    request_bytes: int | None = 1 << 26

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and (type(limit) is not int or limit < 1):
                words = f"is {limit!r}; give a whole number of 1 or more, or None for no limit"
                raise ConfigError.at(f"limits.{field.name}", words)

    def check_rows(self, count: int) -> None:
        """Raises DataError."""
        if _above(count, self.rows):
            raise DataError(
                f"{NAME}: has {count:,} rows, and the limit is {self.rows:,}; send fewer at a "
                "time, or raise limits.rows"
            )

    def check_bytes(self, sizes: dict[str, int]) -> None:
        """``sizes``: bytes by column, as messages name it. Raises DataError."""
        total = sum(sizes.values())
        if _above(total, self.request_bytes):
            largest = max(sizes, key=sizes.__getitem__)
            raise DataError(
                f"{NAME}: holds {short_bytes(total)} of values, {short_bytes(sizes[largest])} of "
                f"them in {largest}, and the limit is {short_bytes(self.request_bytes)}; send "
                "fewer rows at a time, or raise limits.request_bytes"
            )

    def tally(self) -> "Tally":
        return Tally(self)

    def of_cells(self, cells: Cells, column: str, faults: RowFaults) -> int:
        """The bytes of Python's values; cells above a limit are added to ``faults``."""
        if self == NO_LIMITS:
            return 0
        quick = self._of_alike(cells)
        if quick is not None:
            return quick
        total = 0
        for row, cell in enumerate(cells.all):
            values, longest, size = self._measured(cell)
            self._check(row, column, values, longest, faults)
            total += size
        return total

    def of_array(self, array: pa.Array, column: str, faults: RowFaults) -> int:
        """The same for Arrow's."""
        if self == NO_LIMITS:
            return 0
        quick = self.of_whole(array)
        if quick is not None:
            return quick
        size = self._sizes(array)
        over = np.zeros(len(array), bool)
        if self.values is not None:
            over |= size.values > self.values
        if self.text_bytes is not None:
            over |= size.longest > self.text_bytes
        for row in np.flatnonzero(over):
            self._check(int(row), column, int(size.values[row]), int(size.longest[row]), faults)
        return int(size.total.sum())

    def _check(self, row: int, column: str, values: int, longest: int, faults: RowFaults) -> None:
        place = f"{NAME}, row {row + 1:,}, {column}"
        if _above(values, self.values):
            what = f"has {values:,} values, and the limit is {self.values:,}"
            faults.add(row, f"{place}: {what}; send fewer, or raise limits.values")
        elif _above(longest, self.text_bytes):
            what = f"has a text of {longest:,} bytes, and the limit is {self.text_bytes:,}"
            faults.add(row, f"{place}: {what}; shorten it, or raise limits.text_bytes")

    def of_whole(self, array: pa.Array) -> int | None:
        """The bytes of an array; None if every cell must be looked at, or one is too large."""
        largest = _largest(array)
        if largest is None:
            return None
        values, longest, total = largest
        is_over = _above(values, self.values) or _above(longest, self.text_bytes)
        return None if is_over else total

    def _of_alike(self, cells: Cells) -> int | None:
        """The bytes of cells of one kind; None if every one must be looked at, or one is too large.

        These loops are C's, since most requests hold no other cells.
        """
        total = 0
        if cells.kinds and cells.kinds <= LISTS:
            if _above(int(cells.lengths.max()), self.values):
                return None
            total = NUMBER_BYTES * int(cells.lengths.sum())
            if _above(total, self.request_bytes):
                return total
            cells = cells.values
        if cells.kinds <= NUMBERS:
            return total or NUMBER_BYTES * len(cells)
        if cells.kinds != {str} or not all(map(str.isascii, filter(None, cells.all))):
            return None
        is_over = _above(int(cells.lengths.max()), self.text_bytes)
        return None if is_over else int(cells.lengths.sum())

    def _measured(self, cell: Any) -> tuple[int, int, int]:
        """Values, bytes of the longest text, and bytes of a cell. What is far above a limit is not
        looked through."""
        if isinstance(cell, pa.Scalar):
            cell = cell.as_py()
        if isinstance(cell, str | bytes | bytearray):
            size = self._text_bytes(cell)
            return 1, size, size
        try:
            count = len(cell)
        except TypeError:
            return 1, 0, NUMBER_BYTES
        except OverflowError:
            return sys.maxsize, 0, 0
        if _above(count, self.values) or not isinstance(cell, ITERATED):
            return count, 0, NUMBER_BYTES * count
        total = NUMBER_BYTES * count if isinstance(cell, dict) else 0
        longest = 0
        for value in cell:
            for part in value if isinstance(value, list | tuple) and len(value) == 2 else (value,):
                is_text = isinstance(part, str | bytes | bytearray)
                size = self._text_bytes(part) if is_text else NUMBER_BYTES
                longest = max(longest, size if is_text else 0)
                total += size
        return count, longest, total

    def _text_bytes(self, text: str | bytes | bytearray) -> int:
        if not isinstance(text, str) or _above(len(text), self.text_bytes):
            return len(text)
        return len(str.encode(text, "utf-8", "surrogatepass"))

    def _sizes(self, array: pa.Array) -> Size:
        kind = array.type
        if isinstance(array, pa.ExtensionArray):
            return self._sizes(array.storage)
        ones = np.ones(len(array), np.int64)
        if pa.types.is_dictionary(kind):
            entries = self._sizes(array.dictionary)
            codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
            valid = array.indices.is_valid().to_numpy(zero_copy_only=False)
            parts = (entries.values, entries.longest, entries.total)
            return Size(*(np.append(part, 0)[np.where(valid, codes, -1)] for part in parts))
        if is_text(kind):
            lengths = _byte_lengths(array)
            return Size(ones, lengths, lengths)
        if pa.types.is_map(kind):
            ends = array.offsets.to_numpy()
            return self._of_rows(np.diff(ends), array.keys[ends[0] : ends[-1]], NUMBER_BYTES)
        if is_list(kind):
            counts = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
            counts = counts.astype(np.int64)
            # Views may hold the same values again and again.
            is_over = _above(NUMBER_BYTES * int(counts.sum()), self.request_bytes)
            return self._of_rows(counts, pa.nulls(0) if is_over else array.flatten(), 0)
        return Size(ones, 0 * ones, NUMBER_BYTES * ones)

    def _of_rows(self, counts: np.ndarray, values: pa.Array, weight_bytes: int) -> Size:
        """The sizes of rows that hold so many values; ``values`` is empty if they are too many."""
        longest, total = 0 * counts, (weight_bytes + NUMBER_BYTES) * counts
        if len(values) and not pa.types.is_primitive(values.type):
            of_values = self._sizes(values)
            rows = np.flatnonzero(counts)
            begins = (np.cumsum(counts) - counts)[rows]
            longest[rows] = np.maximum.reduceat(of_values.longest, begins)
            sums = np.add.reduceat(of_values.total, begins)
            total[rows] = sums + weight_bytes * counts[rows]
        return Size(counts, longest, total)


class Tally:
    """The bytes of a request column by column, for as long as it is plain that no limit is reached.

    Most requests are far from any. Their cells are passed once, to know that arrays of them are not
    too large; the arrays tell the rest in less time.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.is_plain = True
        self._total_bytes = 0

    def has_room(self, cells: Cells) -> bool:
        """Whether an array of these cells is sure to be within the request's limit, as are those
        before it."""
        self.is_plain = self.is_plain and (self.limits == NO_LIMITS or self._has_room(cells))
        return self.is_plain

    def add(self, array: pa.Array | None) -> None:
        """Take in a column; None if its cells have no array."""
        if self.is_plain and self.limits != NO_LIMITS:
            more = None if array is None else self.limits.of_whole(array)
            self._total_bytes += more or 0
            self.is_plain = more is not None and not self._is_above(0)

    def _has_room(self, cells: Cells) -> bool:
        if cells.kinds and cells.kinds <= LISTS:
            if self._is_above(NUMBER_BYTES * int(cells.lengths.sum())):
                return False
            cells = cells.values
            if not cells.kinds:  # an array of nulls may not tell how many a list has
                return False
        if cells.kinds <= NUMBERS:
            return not self._is_above(NUMBER_BYTES * len(cells))
        if cells.kinds != {str}:
            return False
        return not self._is_above(CHARACTER_BYTES * sum(map(len, filter(None, cells.all))))

    def _is_above(self, more_bytes: int) -> bool:
        return _above(self._total_bytes + more_bytes, self.limits.request_bytes)


def _above(size: int, limit: int | None) -> bool:
    return limit is not None and size > limit


def _largest(array: pa.Array) -> tuple[int, int, int] | None:
    """The most values of a row, the longest text, and the bytes of all; None for arrays whose rows
    may share what they hold, such as views."""
    kind = array.type
    if pa.types.is_primitive(kind) or pa.types.is_null(kind):
        return 1, 0, NUMBER_BYTES * len(array)
    if is_text(kind) and not (pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)):
        lengths = pc.binary_length(array)
        return 1, pc.max(lengths).as_py() or 0, pc.sum(lengths).as_py() or 0
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _largest(array.flatten())
        values = pc.max(pc.list_value_length(array)).as_py() or 0
        return inner and (values, *inner[1:])
    return None


def _byte_lengths(texts: pa.Array) -> np.ndarray:
    """Bytes (N,) int64 of each text; 0 for a null."""
    if pa.types.is_string_view(texts.type) or pa.types.is_binary_view(texts.type):
        # Arrow has no function for views. Each takes 16 bytes, of which the first 4 are its length.
        views = np.frombuffer(texts.buffers()[1], np.int32)[4 * texts.offset :: 4][: len(texts)]
        valid = texts.is_valid().to_numpy(zero_copy_only=False)
        return np.where(valid, views, 0).astype(np.int64)
    lengths = pc.binary_length(texts).fill_null(0)
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


NO_LIMITS = Limits(None, None, None, None)
