"""Batches of rows, joined where they are stored alike.

A value means what its own file stores: 0.7 as a float is another number than 0.7 as a double, and
102 as text another form than 102 as an integer. Joining columns of two types would turn one into
the other, so rows of different types stay apart until they are encoded.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence

import pyarrow as pa

PART_BYTES = 8 << 20


def parts(batches: Iterable[pa.RecordBatch]) -> tuple[pa.RecordBatch, ...]:
    """The same rows in the same order; batches of the same types that follow one another are joined
    to parts of PART_BYTES or a little less.

    All batches have the same names. They are taken one by one, so that a stream of them never
    takes memory beside its parts.
    """
    done: list[pa.RecordBatch] = []
    held: list[pa.RecordBatch] = []
    sizes: dict[Hashable, int] = {}
    for batch in batches:
        more = _sizes(batch)
        is_full = sum({**sizes, **more}.values()) > PART_BYTES
        if held and (is_full or batch.schema.types != held[0].schema.types):
            done.append(joined(held))
            held, sizes = [], {}
        held.append(batch)
        sizes.update(more)
    if held:
        done.append(joined(held))
    return tuple(done)


def _sizes(batch: pa.RecordBatch) -> dict[Hashable, int]:
    """Bytes of a batch's columns and, by their place in memory, of dictionaries, which batches may
    share."""
    sizes: dict[Hashable, int] = {id(batch): 0}
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            words = column.dictionary
            place = tuple(b if b is None else b.address for b in words.buffers())
            sizes[place] = words.nbytes
            column = column.indices
        sizes[id(batch)] += column.nbytes
    return sizes


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of the rows of one or more batches, whose columns have the same types."""
    if len(batches) == 1:
        return batches[0]
    num_rows = sum(batch.num_rows for batch in batches)
    if not batches[0].num_columns:  # a table without columns would forget its number of rows
        return batch_of({}, num_rows)
    # Whether a column may hold nulls, and what pandas noted about it, can differ between files.
    schema = pa.schema(list(zip(batches[0].schema.names, batches[0].schema.types, strict=True)))
    table = pa.Table.from_batches(
        [pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches]
    )
    return table.unify_dictionaries().combine_chunks().to_batches(max_chunksize=num_rows)[0]


def batch_of(arrays: Mapping[str, pa.Array], num_rows: int) -> pa.RecordBatch:
    """The batch of some columns, or of ``num_rows`` rows without any."""
    if not arrays:  # Arrow would forget the number of rows
        return pa.RecordBatch.from_struct_array(pa.array([{}] * num_rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def without_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """No rows of the same types, and none of the memory."""
    columns = [pa.nulls(0, kind) for kind in batch.schema.types]
    return (
        pa.RecordBatch.from_arrays(columns, schema=batch.schema) if columns else batch.slice(0, 0)
    )
