"""Python values -> Arrow arrays, by rules that look at one cell only.

Arrow's own inference looks at all cells of a column: 7 beside 0.5 is a double, beside "a" an error.
Here the type of a cell depends on the cell and on what is known of its column, so that a row of a
request is read alike whatever other rows come with it. Cells of a column may then differ in type.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.features.column import decoded, is_list
from tzmmoe.features.forms import as_text

TEXT = pa.large_string()
SHOWN = 40  # characters of a refused value
SHORT = {np.float16: pa.float16(), np.float32: pa.float32()}
NARROW = {"halffloat": pa.float16(), "float": pa.float32()}  # by Arrow's names
# What Arrow and Python raise for a value that has no form in Arrow.
UNFIT = (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError)


NONE = type(None)


class Cells:
    """The cells of a column. What both their size and their array depend on is computed once."""

    def __init__(self, cells: Sequence[Any]) -> None:
        self.all = cells

    def __len__(self) -> int:
        return len(self.all)

    @cached_property
    def _types(self) -> set[type]:
        return {*map(type, self.all)}

    @property
    def kinds(self) -> set[type]:
        """The types of cells that are not None."""
        return self._types - {NONE}

    @cached_property
    def lengths(self) -> np.ndarray:
        """(B,) int64 of cells that have one; 0 for None."""
        cells = self.all
        if NONE in self._types:
            cells = [() if cell is None else cell for cell in cells]
        return np.fromiter(map(len, cells), np.int64, len(cells))

    @cached_property
    def values(self) -> "Cells":
        """The values of lists, one list after another."""
        return Cells([*chain.from_iterable(filter(None, self.all))])

    def offsets(self, kind: pa.DataType) -> pa.Array:
        """Where the values of each list begin, and the end; null for a cell that is None."""
        ends = np.append(0, np.cumsum(self.lengths))
        if NONE not in self._types:
            return pa.array(ends, kind)
        is_none = [*(cell is None for cell in self.all), False]
        return pa.array(ends, kind, mask=np.array(is_none))


class Unfit(Exception):
    """A cell that cannot be a value of any feature."""


@dataclass(frozen=True)
class Column:
    """What is known of a column of a request.

    ``use``: who reads it. ``is_weighted``: its cells may map values to weights. ``precision``: that
    of the column in the training files, if it was less than float64, which Python's floats have.
    """

    name: str
    use: str
    is_weighted: bool = False
    precision: pa.DataType | None = None

    @property
    def in_messages(self) -> str:
        return f"column {self.name!r} ({self.use})"

    @classmethod
    def precision_of(cls, types: Sequence[str]) -> pa.DataType | None:
        """The precision of a column whose values had these types in the training files."""
        types = [NARROW.get(name) for name in types if name != "null"]
        if not types or None in types:
            return None
        return max(types, key=lambda kind: kind.bit_width)

    def array(self, cells: Cells) -> pa.Array | None:
        """All cells in one array; None unless each has the same value in it as it has alone."""
        kinds = cells.kinds
        if not kinds:
            return pa.nulls(len(cells))
        if kinds <= LISTS:
            return self._lists(cells)
        if kinds == {dict}:
            return self._maps(Cells([cell if cell is None else cell.items() for cell in cells.all]))
        return self._scalars(cells)

    def cell(self, cell: Any) -> pa.Array:
        """The array of one cell. Raises Unfit."""
        try:
            cell = self._simple(cell)
            array = self.array(Cells([cell]))
            if array is None:
                array = _alone(cell)
            if array is None:
                array = self._mixed(cell)
        except UNFIT as error:
            raise Unfit(f"{shown(cell)} {_reason(error)}") from error
        return array

    def narrowed(self, array: pa.Array) -> pa.Array:
        """Numbers in no higher precision than in the training files."""
        kind = array.type
        if self.precision is None or not (is_list(kind) or pa.types.is_dictionary(kind)):
            return self._narrowed(array)
        array = decoded(array)
        if not is_list(array.type):
            return self._narrowed(array)
        if not _is_wide(array.type.value_type, self.precision):
            return array
        return array.cast(pa.large_list(array.type.value_type)).cast(
            pa.large_list(self.precision), safe=False
        )

    def _narrowed(self, array: pa.Array) -> pa.Array:
        if self.precision is None or not _is_wide(array.type, self.precision):
            return array
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.int8())
        if pa.types.is_float16(self.precision) and pa.types.is_integer(array.type):
            array = array.cast(pa.float64(), safe=False)  # Arrow has no direct cast
        return array.cast(self.precision, safe=False)

    def _scalars(self, values: Cells) -> pa.Array | None:
        """An array of texts or numbers, with true and false as 1 and 0."""
        cells, kinds = values.all, values.kinds
        if kinds == {str}:
            return _made(cells, TEXT)
        if bool in kinds and kinds <= {bool, int, float}:
            cells = [int(cell) if type(cell) is bool else cell for cell in cells]
            kinds = kinds - {bool} | {int}
        if kinds == {int}:
            array = _made(cells, pa.int64())
            array = _made(cells, pa.uint64()) if array is None else array
        elif kinds <= {int, float}:  # a whole number is the same value in either type
            array = _made(cells, pa.float64())
        elif len(kinds) == 1 and kinds <= SHORT.keys():
            array = _made(cells, SHORT[kinds.pop()])
        else:
            return None
        return None if array is None else self._narrowed(array)

    def _lists(self, cells: Cells) -> pa.Array | None:
        """An array of lists, or of maps where lists hold pairs."""
        values, kinds = cells.values, cells.values.kinds
        if not kinds:  # an empty list has no value, just as None
            return pa.nulls(len(cells))
        if kinds <= {list, tuple}:
            is_paired = all(len(value) == 2 for value in values.all if value is not None)
            return self._maps(cells) if self.is_weighted and is_paired else None
        array = self._scalars(values)
        if array is None:
            return None
        return pa.LargeListArray.from_arrays(cells.offsets(pa.int64()), array)

    def _maps(self, cells: Cells) -> pa.Array | None:
        """An array of maps, from cells that hold pairs of a value and its weight."""
        pairs = cells.values.all
        if not pairs:
            return pa.nulls(len(cells))
        if None in pairs:
            return None
        keys = Cells([key for key, _ in pairs])
        array = self._scalars(keys) if keys.kinds else None
        weights = _made([weight for _, weight in pairs], pa.float64())
        if array is None or array.null_count or weights is None:
            return None
        return pa.MapArray.from_arrays(cells.offsets(pa.int32()), array, weights)

    def _simple(self, cell: Any) -> Any:
        """A cell as a builtin value, or a list or dict of them, if it is like one."""
        cell = _builtin(cell)
        if isinstance(cell, np.ndarray):
            if cell.ndim != 1:
                raise TypeError("has several dimensions")
            cell = list(cell)
        if isinstance(cell, Mapping):
            return {_builtin(key): _builtin(weight) for key, weight in cell.items()}
        if isinstance(cell, Sequence | Set) and not isinstance(cell, str | bytes):
            return [self._element(value) for value in cell]
        return cell

    def _element(self, value: Any) -> Any:
        value = _builtin(value)
        if isinstance(value, float) and value != value:
            return None
        if self.is_weighted and isinstance(value, list | tuple) and len(value) == 2:
            return tuple(map(_builtin, value))
        if isinstance(value, Mapping | Sequence | Set | np.ndarray) and not isinstance(
            value, str | bytes
        ):
            raise TypeError("holds a list or a dict within its list")
        return value

    def _mixed(self, cell: Any) -> pa.Array:
        """The array of a cell whose values have no type in common: they become texts."""
        if isinstance(cell, dict) or (isinstance(cell, list) and any(map(_is_pair, cell))):
            pairs = list(cell.items() if isinstance(cell, dict) else cell)
            if not all(map(_is_pair, pairs)):
                raise TypeError("holds pairs and other values")
            pairs = [(_text(key), _weight(weight)) for key, weight in pairs]
            return self._maps(Cells([pairs]))
        if isinstance(cell, list):
            texts = [None if value is None else _text(value) for value in cell]
            return self._lists(Cells([texts]))
        return pa.array([_text(cell)], TEXT)


LISTS = {list, tuple}


def shown(cell: Any) -> str:
    """A value in an error."""
    if type(cell) in (str, bytes, float, bool):
        text = repr(cell[: SHOWN + 1] if isinstance(cell, str | bytes) else cell)
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    if type(cell) is int and cell.bit_length() < 100:
        return str(cell)
    article = "an" if type(cell).__name__[:1].lower() in "aeiou" else "a"
    return f"{article} {type(cell).__name__}"


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "holds half of a surrogate pair, which is not text; repair it where it was decoded"
    if type(error) is TypeError and str(error).startswith(("has ", "holds ")):
        return f"{error}; give a text, a number, or a list of them"
    return "cannot be used as a value; give a text, a number, or a list of them"


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _is_wide(kind: pa.DataType, precision: pa.DataType) -> bool:
    """Whether numbers of a type may need more than a precision."""
    if pa.types.is_floating(kind):
        return kind.bit_width > precision.bit_width
    return pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _made(cells: Sequence[Any], kind: pa.DataType) -> pa.Array | None:
    """The cells as this type; None if one does not fit."""
    try:
        return pa.array(cells, kind)
    except UNFIT:
        return None


def _alone(cell: Any) -> pa.Array | None:
    """A cell of another type than Python's text, numbers, lists and dicts, as Arrow infers."""
    if isinstance(cell, str | int | float | list | dict):
        return None
    return pa.array([cell], from_pandas=True)


def _builtin(cell: Any) -> Any:
    """A scalar as the builtin type whose value it is; any other cell as it is.

    numpy's floats of less than 64 bits remain, because 0.7 is another number in each precision.
    """
    if isinstance(cell, pa.Scalar):
        cell = cell.as_py()
    elif isinstance(cell, pa.Array | pa.ChunkedArray):
        cell = cell.to_pylist()
    elif isinstance(cell, np.ndarray) and cell.ndim == 0:
        cell = cell[()]
    elif type(cell).__module__ == "torch" and hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, bool | np.bool_):
        return bool(cell)
    if isinstance(cell, str):
        return str.__str__(cell)
    if isinstance(cell, np.float16 | np.float32):
        return None if np.isnan(cell) else cell
    for kind, same in ((int, int.__index__), (np.integer, int), (float, float.__float__)):
        if isinstance(cell, kind):
            return same(cell)
    if isinstance(cell, np.floating):
        return float(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, Decimal) and not cell.is_finite():
        return float(cell)
    return cell


def _text(value: Any) -> str:
    """The text of a value, as hashes and vocabularies see it."""
    if isinstance(value, str):
        value.encode()  # raises for what is not Unicode
        return value
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.float16 | np.float32):
        return as_text(pa.array(np.array([value])))[0].as_py()
    if isinstance(value, int | float | Decimal):
        return as_text(pa.array([value]))[0].as_py()
    raise TypeError(f"holds {shown(value)}")


def _weight(weight: Any) -> float | None:
    if weight is None or isinstance(weight, int | float | Decimal | np.floating):
        return None if weight is None else float(weight)
    raise TypeError(f"holds the weight {shown(weight)}")
