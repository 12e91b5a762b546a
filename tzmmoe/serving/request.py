"""The rows of a request: dicts -> an Arrow record batch."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tzmmoe.errors import DataError


def record_batch(rows: Sequence[Mapping[str, Any]], columns: Collection[str]) -> pa.RecordBatch:
    """The rows with all their columns, of which only those in ``columns`` hold values.

    A row without a column has null there, unless all rows lack it. A cell that is a dict is a map
    from values to weights.

    Raises:
        DataError: not a sequence of dicts, or a column whose cells have no type in common.
    """
    if isinstance(rows, Mapping | str) or not isinstance(rows, Sequence):
        raise DataError(f"request: is a {type(rows).__name__}; pass a list of dicts, one a row")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise DataError(f"request, row {number:,}: is a {type(row).__name__}; pass a dict")
    if not rows:
        return pa.record_batch({name: pa.nulls(0) for name in columns})
    names = dict.fromkeys(name for row in rows for name in row)
    arrays = {
        str(name): _array(name, [row.get(name) for row in rows])
        if name in columns
        else pa.nulls(len(rows))
        for name in names
    }
    return pa.record_batch(arrays)


def _array(name: str, cells: list[Any]) -> pa.Array:
    """A column. Raises DataError with the first row whose cell does not fit those before it."""
    try:
        return _of_one_type(cells)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        count = bisect_left(range(1, len(cells)), True, key=lambda end: _fails(cells[:end])) + 1
        place = f"request, row {count:,}, column {name!r}: {cells[count - 1]!r}"
        raise DataError(f"{place}: {error}; give all rows values of one type") from error


def _fails(cells: list[Any]) -> bool:
    try:
        _of_one_type(cells)
    except (pa.ArrowException, TypeError, OverflowError):
        return True
    return False


def _of_one_type(cells: list[Any]) -> pa.Array:
    """The cells as Arrow infers them, except that dicts are maps, not structs."""
    maps = [cell for cell in cells if isinstance(cell, Mapping)]
    if not maps:
        return pa.array(cells)
    keys = pa.array([key for cell in maps for key in cell])
    pairs = [list(cell.items()) if isinstance(cell, Mapping) else cell for cell in cells]
    return pa.array(pairs, pa.map_(keys.type, pa.float64()))
