"""The same rows in every container that is read from memory."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds


class Stream:
    """An object of some other library: all that is known of it is that it exports Arrow."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def with_filtered_index(table: pa.Table) -> pd.DataFrame:
    """A DataFrame whose index is what a filter of a larger one leaves."""
    frame = table.to_pandas()
    frame.index = [7 * number + 3 for number in range(len(frame))]
    return frame


def nullable(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas().convert_dtypes()


def with_categories(table: pa.Table) -> pd.DataFrame:
    """Texts and whole numbers without missing values as categories, in an order of their own."""
    frame = table.to_pandas()
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        if pa.types.is_string(kind) or (pa.types.is_integer(kind) and name == "user"):
            values = frame[name].dropna().unique()[::-1]
            frame[name] = pd.Categorical(frame[name], categories=[*values])
    return frame


CONTAINERS: Mapping[str, Callable[[pa.Table], Any]] = {
    "table": lambda table: table,
    "table_in_chunks": lambda table: pa.concat_tables(
        [table.slice(begin, 7) for begin in range(0, len(table), 7)]
    ),
    "record_batch": lambda table: table.combine_chunks().to_batches()[0],
    "pandas": lambda table: table.to_pandas(),
    "pandas_filtered": with_filtered_index,
    "pandas_nullable": nullable,
    "pandas_objects": lambda table: table.to_pandas().astype(object),
    "pandas_of_arrow": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas_categories": with_categories,
    "polars": pl.from_arrow,
    "dict_of_arrays": lambda table: {
        name: table[name].to_numpy(zero_copy_only=False) for name in table.schema.names
    },
    "dict_of_lists": lambda table: table.to_pydict(),
    "stream": Stream,
    "dataset": ds.dataset,
}
