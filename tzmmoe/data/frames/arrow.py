"""Rows in the containers of several libraries -> Arrow. No library is imported for it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.errors import DataError, few
from tzmmoe.features.column import decoded, is_list

FORMS = "pass a pandas or polars DataFrame, an Arrow table, or a dict of arrays"
# What Arrow, pandas and polars raise for columns that they cannot pass on.
FAILURES = (pa.ArrowException, TypeError, ValueError, OverflowError)
VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def table_of(rows: Any, name: str) -> pa.Table:
    """The table of rows in any container. NaN, None and NA of pandas are null in it.

    ``name``: what messages call the rows. The index is not read as a column.

    Raises:
        DataError: no such container, column names that are not text or not unique, columns of
            different lengths, or values that have no type in Arrow.
    """
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    elif is_pandas(rows):
        check_names(rows.columns, name)
        arrays = {column: series_array(rows[column], name, column) for column in rows.columns}
        return _of_arrays(arrays, name, len(rows))
    elif isinstance(rows, Mapping):
        check_names(rows, name)
        return _of_arrays({c: _array(cells, name, c) for c, cells in rows.items()}, name)
    elif not isinstance(rows, pa.Table):
        rows = _read(rows, name)
    check_names(rows.schema.names, name)
    return rows


def _read(rows: Any, name: str) -> pa.Table:
    """The rows of a dataset or stream."""
    try:
        if is_dataset(rows):
            return rows.to_table()
        if hasattr(rows, "to_frame"):
            what = type(rows).__name__
            raise DataError(f"{name}: is a {what}; pass a DataFrame, such as frame[[column]]")
        stream = exported(rows, name, _advice(rows))
        return pa.Table.from_batches(list(stream), stream.schema)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name}: cannot be read: {first_line(error)}") from error


def is_pandas(rows: Any) -> bool:
    return hasattr(rows, "iloc") and hasattr(rows, "columns")


def is_dataset(rows: Any) -> bool:
    """Whether rows are a pyarrow.dataset.Dataset."""
    kinds = type(rows).__mro__
    return any(k.__name__ == "Dataset" and k.__module__.startswith("pyarrow") for k in kinds)


def check_names(names: Iterable[Any], name: str) -> None:
    """Raise DataError for column names that are not text or not unique."""
    faults, names = [], list(names)
    others = [column for column in names if not isinstance(column, str)]
    if others:
        of = f"{type(others[0]).__name__}s such as {others[0]!r}"
        faults.append(f"{name}: has columns named by {of}; rename them to texts")
    for column, count in Counter(c for c in names if isinstance(c, str)).items():
        if count > 1:
            faults.append(f"{name}: has {count} columns named {column!r}; rename all but one")
    if faults:
        raise DataError("\n".join(faults))


def series_array(series: Any, name: str, column: str) -> pa.Array | pa.ChunkedArray:
    """A column of pandas, with NaN and NA as null. Raises DataError."""
    try:
        return pa.array(series, from_pandas=True)
    except FAILURES as error:
        raise _unfit(name, column, error) from error


def exported(rows: Any, name: str, forms: str) -> pa.RecordBatchReader:
    """The stream of an object that exports one, or a single batch, to Arrow.

    Raises:
        DataError: the export fails, or rows are something else; ``forms`` says what to pass.
    """
    try:
        if hasattr(rows, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(rows)
        if hasattr(rows, "__arrow_c_array__"):
            batch = pa.record_batch(rows)
            return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except FAILURES as error:
        raise DataError(f"{name}: cannot be read as Arrow rows: {first_line(error)}") from error
    raise DataError(f"{name}: its type is {type(rows).__name__}; {forms}")


def without_views(array: pa.Array) -> pa.Array:
    """The same in types that Arrow can take rows of."""
    kind = array.type
    if pa.types.is_dictionary(kind) and kind.value_type in VIEWS:
        words = array.dictionary.cast(VIEWS[kind.value_type])
        return pa.DictionaryArray.from_arrays(array.indices, words, ordered=kind.ordered)
    if not is_list(kind):
        return decoded(array) if kind in VIEWS else array
    array = decoded(array)
    text = VIEWS.get(array.type.value_type)
    return array if text is None else array.cast(pa.large_list(text))


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _array(cells: Any, name: str, column: str) -> pa.Array | pa.ChunkedArray:
    """A column of a dict: an array of any library, or a list; of two axes, a list in each row."""
    if isinstance(cells, pa.Array | pa.ChunkedArray):
        return cells
    if isinstance(cells, str | bytes | Mapping) or not hasattr(cells, "__len__"):
        what = type(cells).__name__
        raise DataError(f"{name}, column {column!r}: is a {what}; give an array or a list of cells")
    try:
        if hasattr(cells, "__array__") and not hasattr(cells, "iloc"):
            cells = np.asarray(cells)
            if cells.ndim == 2:
                flat = pa.array(cells.ravel(), from_pandas=True)
                return pa.FixedSizeListArray.from_arrays(flat, cells.shape[1])
        return pa.array(cells, from_pandas=True)
    except FAILURES as error:
        raise _unfit(name, column, error) from error


def _of_arrays(
    arrays: Mapping[str, pa.Array | pa.ChunkedArray], name: str, num_rows: int | None = None
) -> pa.Table:
    lengths = {column: len(array) for column, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = few([f"{column!r} {count:,}" for column, count in lengths.items()])
        raise DataError(f"{name}: its columns differ in length ({told}); give each row all cells")
    if not arrays and num_rows:
        raise DataError(f"{name}: has {num_rows:,} rows, but no columns; pass those to read")
    return pa.table(dict(arrays))


def _unfit(name: str, column: str, error: Exception) -> DataError:
    advice = "convert it to one type of text, number, time or list, such as with astype(str)"
    return DataError(f"{name}, column {column!r}: {first_line(error)}; {advice}")


def _advice(rows: Any) -> str:
    if isinstance(rows, list | tuple):
        return "pass a DataFrame, such as pandas.DataFrame(rows)"
    if hasattr(rows, "collect"):
        return "collect it first: rows.collect()"
    if isinstance(rows, str) or hasattr(rows, "__fspath__"):
        return f"this argument takes rows in memory: {FORMS}, or set the path in the config"
    return FORMS
