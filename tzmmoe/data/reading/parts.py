"""Batches of rows, joined where they are stored alike.

A value means what its own file stores: 0.7 as a float is another number than 0.7 as a double, and
102 as text another form than 102 as an integer. Joining columns of two types would turn one into
the other, so rows of different types stay apart until they are encoded.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

import pyarrow as pa


def parts(batches: Iterable[pa.RecordBatch]) -> tuple[pa.RecordBatch, ...]:
    """The same rows in the same order; batches of the same types that follow one another are one.

    All batches have the same names.
    """
    return tuple(joined(list(alike)) for _, alike in groupby(batches, lambda b: b.schema.types))


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of the rows of one or more batches, whose columns have the same types."""
    if len(batches) == 1:
        return batches[0]
    num_rows = sum(batch.num_rows for batch in batches)
    if not batches[0].num_columns:  # a table without columns would forget its number of rows
        return pa.RecordBatch.from_struct_array(pa.array([{}] * num_rows, pa.struct([])))
    # Whether a column may hold nulls, and what pandas noted about it, can differ between files.
    schema = pa.schema(list(zip(batches[0].schema.names, batches[0].schema.types, strict=True)))
    table = pa.Table.from_batches(
        [pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches]
    )
    return table.unify_dictionaries().combine_chunks().to_batches(max_chunksize=num_rows)[0]


def without_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """No rows of the same types, and none of the memory."""
    columns = [pa.nulls(0, kind) for kind in batch.schema.types]
    return (
        pa.RecordBatch.from_arrays(columns, schema=batch.schema) if columns else batch.slice(0, 0)
    )
