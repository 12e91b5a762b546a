"""What a Scorer is asked to score, in any of its forms -> a chunk of Arrow rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.data.frames.arrow import (
    FAILURES,
    exported,
    first_line,
    is_pandas,
    series_array,
    without_views,
)
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.data.reading.parts import batch_of
from tzmmoe.errors import DataError, did_you_mean
from tzmmoe.features import Feature
from tzmmoe.serving.cells import Cells, Column, Unfit
from tzmmoe.serving.service.faults import RowFaults
from tzmmoe.serving.service.limits import NAME, NO_LIMITS, Limits

FORMS = "pass a list of dicts, an Arrow table or a DataFrame"

Arrays = Sequence[pa.Array]  # one array of all cells, or one for each cell


@dataclass(frozen=True)
class Request:
    """Rows in the form in which they are encoded, and the place (B,) of each among those of the
    request; None if the order is the same."""

    chunk: Chunk
    places: np.ndarray | None = None

    @property
    def numbers(self) -> np.ndarray:
        """(B,): the row of the request that each row of the chunk is."""
        return np.arange(self.chunk.num_rows) if self.places is None else np.argsort(self.places)

    def only(self, good: np.ndarray) -> "Request":
        """Those rows of the request that are True in (B,) bool, in its order."""
        numbers = self.numbers
        taken = np.flatnonzero(good[numbers])
        return Request(self.chunk.take(taken), np.argsort(numbers[taken]))


class CellChunk(Chunk):
    """Rows that were made from Python values: a type is that of a cell, and not of a column."""

    def path(self, row: int) -> str:
        return self.place(row)

    def take(self, taken: np.ndarray) -> "CellChunk":
        """As for other chunks; a column that has no value left has no type either."""
        chunk = super().take(taken)
        parts = []
        for part in chunk.parts:
            arrays = {
                name: pa.nulls(len(array)) if array.null_count == len(array) else array
                for name, array in zip(part.schema.names, part.columns, strict=True)
            }
            parts.append(batch_of(arrays, part.num_rows))
        parts = [part for part in parts if part.num_rows] or parts[:1]
        return replace(chunk, parts=tuple(parts))


class RequestReader:
    """Reads requests that have the columns of some features.

    ``types``: for each column, the types of its values in the training files; empty if unknown.
    """

    limits: Limits = NO_LIMITS

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

    def read(self, rows: Any, faults: RowFaults) -> Request:
        """A request: dicts, an Arrow batch or table, or anything that gives an Arrow stream.

        ``faults`` gets the rows that cannot be read, if it collects them; in the request they hold
        anything.

        Raises:
            DataError: another type, a missing column, a request above a limit, or a cell that
                cannot be a value.
        """
        if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
            return self._of_dicts(rows, faults)
        if is_pandas(rows):
            return self._of_pandas(rows, faults)
        if not isinstance(rows, pa.RecordBatch | pa.Table):
            rows = _table(rows, self.limits)
        self._check_names(rows.schema.names)
        self.limits.check_rows(rows.num_rows)
        names = list(self.columns)
        batch = rows.select(names) if isinstance(rows, pa.RecordBatch) else _batch(rows, names)
        return self._of_batch(batch, faults)

    def _of_batch(self, batch: pa.RecordBatch, faults: RowFaults) -> Request:
        if not batch.num_rows:  # whatever the types are
            return self._of_cells(((name, Cells([])) for name in self.columns), 0, faults)
        self._check_sizes(dict(zip(self.columns, batch.columns, strict=True)), faults)
        columns = batch.columns
        if faults.are_collected:  # rows will be taken out
            columns = [without_views(array) for array in columns]
        arrays = [
            column.narrowed(array)
            for column, array in zip(self.columns.values(), columns, strict=True)
        ]
        if arrays:
            batch = pa.RecordBatch.from_arrays(arrays, names=list(self.columns))
        return Request(Chunk(0, (batch,), (FileRows(NAME, 0, batch.num_rows),)))

    def _of_dicts(self, rows: Sequence[Any], faults: RowFaults) -> Request:
        self.limits.check_rows(len(rows))
        for place, row in enumerate(rows):
            if not isinstance(row, Mapping):
                what = type(row).__name__
                way = "pass its to_dict()" if hasattr(row, "to_dict") else "pass a dict"
                faults.add(place, f"{NAME}, row {place + 1:,}: a row is a {what}; {way}")
        if faults:
            rows = [{} if place in faults else row for place, row in enumerate(rows)]
        if len(rows) > len(faults):
            first = rows[0]
            if not all(name in first for name in self.columns):
                self._check_names([*dict.fromkeys(name for row in rows for name in row)])
        cells = ((name, Cells([row.get(name) for row in rows])) for name in self.columns)
        return self._of_cells(cells, len(rows), faults)

    def _of_pandas(self, frame: Any, faults: RowFaults) -> Request:
        """A pandas DataFrame. Its columns of Python objects are read as those of dicts."""
        self._check_names([*frame.columns])
        self.limits.check_rows(len(frame))
        cells: dict[str, Cells | pa.Array] = {}
        for name in self.columns:
            series = frame[name]
            if series.dtype == object or not len(series):
                cells[name] = Cells(series.tolist())
                continue
            array = series_array(series, NAME, name)
            if isinstance(array, pa.ChunkedArray):
                array = _batch(pa.table({name: array}), [name]).column(0)
            cells[name] = array
        return self._of_cells(cells.items(), len(frame), faults)

    def _check_sizes(self, cells: Mapping[str, Cells | pa.Array], faults: RowFaults) -> None:
        """Compare what columns hold with the limits, before more is made of it."""
        sizes = {}
        for name, column in self.columns.items():
            is_array = isinstance(cells[name], pa.Array)
            measure = self.limits.of_array if is_array else self.limits.of_cells
            sizes[column.in_messages] = measure(cells[name], column.in_messages, faults)
        self.limits.check_bytes(sizes)

    def _of_cells(
        self, columns: Iterable[tuple[str, Cells | pa.Array]], num_rows: int, faults: RowFaults
    ) -> Request:
        cells, ready = self._within_limits(columns, faults)
        arrays = {
            name: [ready[name]] if name in ready else self._arrays(column, cells[name], faults)
            for name, column in self.columns.items()
        }
        mixed = {name: column for name, column in arrays.items() if len(column) > 1}
        if not mixed:
            batch = batch_of({name: column[0] for name, column in arrays.items()}, num_rows)
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
            batches.append(batch_of(part, len(rows)))
        file_rows = tuple(FileRows(NAME, int(row), 1) for row in order)
        return Request(CellChunk(0, tuple(batches), file_rows), np.argsort(order))

    def _within_limits(
        self, columns: Iterable[tuple[str, Cells | pa.Array]], faults: RowFaults
    ) -> tuple[dict[str, Cells | pa.Array], dict[str, pa.Array]]:
        """The cells of all columns, and the arrays of those that were made on the way.

        While it is plain that the limits hold, each column is measured and made an array before the
        next one's cells are taken out of the rows: these steps read the same cells, which are
        scattered over memory, and those of one column fit into the processor's cache.
        """
        cells: dict[str, Cells | pa.Array] = {}
        ready: dict[str, pa.Array] = {}
        tally = self.limits.tally()
        for name, column in columns:
            cells[name] = column
            if isinstance(column, pa.Array):
                tally.add(column)
            elif tally.has_room(column):
                array = self.columns[name].array(column)
                tally.add(array)
                if array is not None:
                    ready[name] = array
        if not tally.is_plain:
            ready.clear()
            self._check_sizes(cells, faults)
        return cells, ready

    def _arrays(self, column: Column, cells: Cells | pa.Array, faults: RowFaults) -> Arrays:
        """One array if all cells have values of one type, else one for each."""
        if isinstance(cells, pa.Array):
            return [column.narrowed(without_views(cells) if faults.are_collected else cells)]
        if faults:
            cells = Cells([None if row in faults else c for row, c in enumerate(cells.all)])
        array = column.array(cells)
        if array is not None:
            return [array]
        arrays = []
        for row, cell in enumerate(cells.all):
            try:
                arrays.append(column.cell(cell))
            except Unfit as unfit:
                arrays.append(pa.nulls(1))
                faults.add(row, f"{NAME}, row {row + 1:,}, {column.in_messages}: {unfit}")
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


def _table(rows: Any, limits: Limits) -> pa.Table:
    """The Arrow rows of an object that exports them. Too many are not read to the end."""
    stream = exported(rows, NAME, FORMS)
    try:
        batches, count = [], 0
        for batch in stream:
            count += batch.num_rows
            limits.check_rows(count)
            batches.append(batch)
    except FAILURES as error:
        raise DataError(f"{NAME}: cannot be read as Arrow rows: {first_line(error)}") from error
    return pa.Table.from_batches(batches, stream.schema)


def _batch(table: pa.Table, names: Sequence[str]) -> pa.RecordBatch:
    """The rows of a table as one record batch, even if there are none."""
    if not names:
        return batch_of({}, table.num_rows)
    batches = table.select(names).unify_dictionaries().combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
