"""Columns of a row group that are decoded one after the other.

A writer that was given dictionaries stores all words of a row group in one page of each column.
Arrow decodes such a page as a whole and holds it, twice and with the place of each word, until the
row group ends. So of several such columns all but one are decoded before the others, and wait
compressed, in a temporary file if they are large.
"""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, zip_longest
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

PAGE_BYTES = 2 << 20  # compressed; writers that make the dictionaries themselves stop at half of it
GROUP_BYTES = 32 << 20  # of a row group, uncompressed; a smaller one is read as it is
COMPRESSION = "zstd"
WAITING_BYTES = 48 << 20  # of all columns that wait in memory


def probe(parquet: pq.ParquetFile, group: int, columns: Sequence[str]) -> None:
    """Read a row of each column, one after the other, since Arrow ends the process if it is asked
    for the sizes of a damaged column that it has not read from. Raises ArrowException, OSError."""
    for name in columns:
        next(parquet.iter_batches(1, row_groups=[group], columns=[name]), None)
        pa.default_memory_pool().release_unused()  # what decoding that row took


def large_dictionaries(metadata: pq.FileMetaData, group: int, columns: Sequence[str]) -> list[str]:
    """Those columns of a row group whose dictionary pages are large. ``probe`` them before."""
    found = {}
    row_group = metadata.row_group(group)
    for number in range(metadata.num_columns):
        path = metadata.schema.column(number).path
        name = path if path in columns else path.split(".")[0]  # of a column of lists
        if name not in columns:
            continue
        leaf = row_group.column(number)
        start = leaf.dictionary_page_offset if leaf.has_dictionary_page else leaf.data_page_offset
        if leaf.data_page_offset - start > PAGE_BYTES:
            found[name] = True
    return list(found)


def batches(
    parquet: pq.ParquetFile,
    groups: Sequence[int],
    columns: Sequence[str],
    rows: int,
    kept: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """The rows of row groups, as ``ParquetFile.iter_batches`` gives them. A batch with rows of a
    group beyond GROUP_BYTES has no others. Columns that are ``kept`` as dictionaries, because they
    are small, are never decoded apart."""
    small: list[int] = []
    for group in groups:
        if parquet.metadata.row_group(group).total_byte_size <= GROUP_BYTES:
            small.append(group)
            continue
        if small:
            yield from parquet.iter_batches(rows, row_groups=small, columns=list(columns))
            small = []
        yield from _of_large_group(parquet, group, columns, rows, kept)
    if small:
        yield from parquet.iter_batches(rows, row_groups=small, columns=list(columns))


def _of_large_group(
    parquet: pq.ParquetFile,
    group: int,
    columns: Sequence[str],
    rows: int,
    kept: Collection[str],
) -> Iterator[pa.RecordBatch]:
    asked = [name for name in columns if name not in kept]
    probe(parquet, group, asked)
    large = large_dictionaries(parquet.metadata, group, asked)
    if len(large) < 2 or not parquet.metadata.row_group(group).num_rows:
        return parquet.iter_batches(rows, row_groups=[group], columns=list(columns))
    return _one_by_one(parquet, group, (large[:-1], columns), rows)


def _one_by_one(
    parquet: pq.ParquetFile,
    group: int,
    columns: tuple[Sequence[str], Sequence[str]],
    rows: int,
) -> Iterator[pa.RecordBatch]:
    """``columns``: those that are decoded first, and all of them."""
    first, names = columns
    room = WAITING_BYTES // len(first)
    with ExitStack() as files:
        waiting = []
        for name in first:
            whole = _compressed(parquet.iter_batches(rows, [group], [name]))
            waiting.append(whole if whole.size <= room else files.enter_context(_in_file(whole)))
            del whole
            pa.default_memory_pool().release_unused()
        rest = [name for name in names if name not in first]
        others = parquet.iter_batches(rows, row_groups=[group], columns=rest)
        for batch, *apart in zip_longest(others, *map(pa.ipc.open_stream, waiting)):
            if len({None if each is None else each.num_rows for each in (batch, *apart)}) > 1:
                raise pa.ArrowInvalid("its columns do not have the same number of rows")
            for name, column in zip(first, apart, strict=True):
                batch = batch.append_column(name, column.column(0))
            yield batch


def _compressed(stream: Iterator[pa.RecordBatch]) -> pa.Buffer:
    """The batches as a stream of Arrow's format. Raises ArrowInvalid if there are none."""
    sink, batch = pa.BufferOutputStream(), next(stream, None)
    if batch is None:
        raise pa.ArrowInvalid("a column has no rows")
    options = pa.ipc.IpcWriteOptions(compression=COMPRESSION)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for each in chain([batch], stream):
            writer.write_batch(each)
    return sink.getvalue()


def _in_file(whole: pa.Buffer) -> BinaryIO:
    """The same bytes in a temporary file. Raises OSError."""
    try:
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile())
            file.write(whole)
            file.seek(0)
            stack.pop_all()
    except OSError as error:
        words = f"a column needs a temporary file, but {error}; set TMPDIR to a folder with room"
        raise OSError(words) from error
    return file
