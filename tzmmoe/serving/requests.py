"""What a Scorer is asked to score, in any of its forms -> a chunk of Arrow rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.errors import DataError, did_you_mean
from tzmmoe.features import Feature
from tzmmoe.serving.cells import Column, Unfit

NAME = "request"  # in errors, in place of a file
FORMS = "pass a list of dicts, an Arrow table or a DataFrame"
# What Arrow, pandas and polars raise for columns that they cannot pass on.
FAILURES = (pa.ArrowException, TypeError, ValueError, OverflowError)

Arrays = Sequence[pa.Array]  # one array of all cells, or one for each cell


@dataclass(frozen=True)
class Request:
    """Rows in the form in which they are encoded, and the place (B,) of each among those of the
    request; None if the order is the same."""

    chunk: Chunk
    places: np.ndarray | None = None


class CellChunk(Chunk):
    """Rows that were made from Python values: a type is that of a cell, and not of a column."""

    def path(self, row: int) -> str:
        return self.place(row)


class RequestReader:
    """Reads requests that have the columns of some features.

    ``types``: for each column, the types of its values in the training files; empty if unknown.
    """

    def __init__(
        self,
        names: Sequence[str],
        features: Sequence[Feature],
        types: Mapping[str, Sequence[str]],
    ) -> None:
        readers: dict[str, list[Feature]] = {name: [] for name in names}
        for feature in features:
            for origin in feature.origins:
                if origin.kind == "column":
                    readers[origin.name].append(feature)
        self.columns = {
            name: Column(
                name,
                use=f"feature {read_by[0].name!r}",
                is_weighted=any(feature.weighted for feature in read_by),
                precision=Column.precision_of(types.get(name, ())),
            )
            for name, read_by in readers.items()
        }

    def read(self, rows: Any) -> Request:
        """A request: dicts, an Arrow batch or table, or anything that gives an Arrow stream.

        Raises:
            DataError: another type, a missing column, or a cell that cannot be a value.
        """
        if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
            return self._of_dicts(rows)
        if hasattr(rows, "iloc") and hasattr(rows, "columns"):
            return self._of_pandas(rows)
        if not isinstance(rows, pa.RecordBatch | pa.Table):
            rows = _table(rows)
        self._check_names(rows.schema.names)
        names = list(self.columns)
        batch = rows.select(names) if isinstance(rows, pa.RecordBatch) else _batch(rows, names)
        return self._of_batch(batch)

    def _of_batch(self, batch: pa.RecordBatch) -> Request:
        if not batch.num_rows:  # whatever the types are
            return self._of_cells({name: [] for name in self.columns}, 0)
        arrays = [
            column.narrowed(array)
            for column, array in zip(self.columns.values(), batch.columns, strict=True)
        ]
        if arrays:
            batch = pa.RecordBatch.from_arrays(arrays, names=list(self.columns))
        return Request(Chunk(0, (batch,), (FileRows(NAME, 0, batch.num_rows),)))

    def _of_dicts(self, rows: Sequence[Any]) -> Request:
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                what = type(row).__name__
                way = "pass its to_dict()" if hasattr(row, "to_dict") else "pass a dict"
                raise DataError(f"{NAME}, row {number:,}: a row is a {what}; {way}")
        if rows:
            first = rows[0]
            if not all(name in first for name in self.columns):
                self._check_names([*dict.fromkeys(name for row in rows for name in row)])
        return self._of_cells({n: [row.get(n) for row in rows] for n in self.columns}, len(rows))

    def _of_pandas(self, frame: Any) -> Request:
        """A pandas DataFrame. Its columns of Python objects are read as those of dicts."""
        self._check_names([*frame.columns])
        cells: dict[str, Any] = {}
        for name in self.columns:
            series = frame[name]
            if series.dtype == object or not len(series):
                cells[name] = series.tolist()
                continue
            try:
                array = pa.array(series, from_pandas=True)
            except FAILURES as error:
                raise DataError(f"{NAME}, column {name!r}: {_first_line(error)}") from error
            if isinstance(array, pa.ChunkedArray):
                array = _batch(pa.table({name: array}), [name]).column(0)
            cells[name] = array
        return self._of_cells(cells, len(frame))

    def _of_cells(self, cells: Mapping[str, Sequence[Any] | pa.Array], num_rows: int) -> Request:
        arrays = {name: self._arrays(self.columns[name], cells[name]) for name in self.columns}
        mixed = {name: column for name, column in arrays.items() if len(column) > 1}
        if not mixed:
            batch = _of_arrays({name: column[0] for name, column in arrays.items()}, num_rows)
            return Request(CellChunk(0, (batch,), (FileRows(NAME, 0, num_rows),)))
        keys = list(zip(*(_types(column) for column in mixed.values()), strict=True))
        groups = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        order = np.argsort(np.array([groups[key] for key in keys]), kind="stable")
        sizes = np.bincount([groups[key] for key in keys])
        batches = []
        for rows, key in zip(np.split(order, np.cumsum(sizes)[:-1]), groups, strict=True):
            types = dict(zip(mixed, key, strict=True))
            part = {
                name: _joined([column[row] for row in rows], types[name])
                if name in mixed
                else column[0].take(pa.array(rows))
                for name, column in arrays.items()
            }
            batches.append(_of_arrays(part, len(rows)))
        file_rows = tuple(FileRows(NAME, int(row), 1) for row in order)
        return Request(CellChunk(0, tuple(batches), file_rows), np.argsort(order))

    def _arrays(self, column: Column, cells: Sequence[Any] | pa.Array) -> Arrays:
        """One array if all cells have values of one type, else one for each."""
        if isinstance(cells, pa.Array):
            return [column.narrowed(cells)]
        array = column.array(cells)
        if array is not None:
            return [array]
        arrays = []
        for number, cell in enumerate(cells, start=1):
            try:
                arrays.append(column.cell(cell))
            except Unfit as unfit:
                place = f"{NAME}, row {number:,}, column {column.name!r} ({column.use})"
                raise DataError(f"{place}: {unfit}") from unfit
        types = {*_types(arrays)}
        return [_joined(arrays, types.pop())] if len(types) == 1 else arrays

    def _check_names(self, names: Sequence[Any]) -> None:
        faults = []
        for name in self.columns:
            count = names.count(name)
            if count == 0:
                texts = [other for other in names if isinstance(other, str)]
                hint = did_you_mean(name, texts) or "; give None where its value is missing"
                faults.append(f"{NAME}: no column {name!r}{hint}")
            elif count > 1:
                faults.append(f"{NAME}: {count} columns named {name!r}; remove all but one")
        if faults:
            raise DataError("\n".join(faults))


def _types(arrays: Arrays) -> list[pa.DataType]:
    """The type of each cell. A cell without a value has that of the first one that has any."""
    types = [array.type for array in arrays]
    first = next((kind for kind in types if not pa.types.is_null(kind)), pa.null())
    return [first if pa.types.is_null(kind) else kind for kind in types]


def _joined(arrays: Arrays, kind: pa.DataType) -> pa.Array:
    return pa.concat_arrays(
        [pa.nulls(1, kind) if pa.types.is_null(array.type) else array for array in arrays]
    )


def _of_arrays(arrays: Mapping[str, pa.Array], num_rows: int) -> pa.RecordBatch:
    if not arrays:  # without columns, Arrow would forget the number of rows
        return pa.RecordBatch.from_struct_array(pa.array([{}] * num_rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _table(rows: Any) -> pa.Table | pa.RecordBatch:
    """The Arrow rows of an object that exports them."""
    try:
        if hasattr(rows, "__arrow_c_stream__"):
            return pa.table(rows)
        if hasattr(rows, "__arrow_c_array__"):
            return pa.record_batch(rows)
    except FAILURES as error:
        raise DataError(f"{NAME}: cannot be read as Arrow rows: {_first_line(error)}") from error
    raise DataError(f"{NAME}: its type is {type(rows).__name__}; {FORMS}")


def _batch(table: pa.Table, names: Sequence[str]) -> pa.RecordBatch:
    """The rows of a table as one record batch, even if there are none."""
    if not names:
        return _of_arrays({}, table.num_rows)
    batches = table.select(names).unify_dictionaries().combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
