"""Columns of a row group that are decoded one after the other.

A writer that was given dictionaries stores all words of a row group in one page of each column.
Arrow decodes such a page as a whole and holds it, twice and with the place of each word, until the
row group ends. So of several such columns all but one are decoded before the others, and wait in
spools.
"""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.parquet as pq

from tzmmoe.data.spool import Spool, SpoolError

PAGE_BYTES = 2 << 20  # compressed; writers that make the dictionaries themselves stop at half of it
GROUP_BYTES = 32 << 20  # of a row group, uncompressed; a smaller one is read as it is
WAITING_BYTES = 8 << 20  # of all columns that wait, before more of them goes to a file


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
    with ExitStack() as stack:
        spools = []
        for name in first:
            spools.append(Spool(0, rows, WAITING_BYTES // len(first)))
            stack.callback(spools[-1].close)
            _fill(spools[-1], parquet.iter_batches(rows, [group], [name]))
        begin, rest = 0, [name for name in names if name not in first]
        for batch in parquet.iter_batches(rows, row_groups=[group], columns=rest):
            end = begin + batch.num_rows
            _check_end(end <= min(spool.end for spool in spools))
            for name, spool in zip(first, spools, strict=True):
                parts = [part.column(0) for part in spool.read(begin, end)]
                batch = batch.append_column(name, pa.concat_arrays(parts))
            yield batch
            begin = end
        _check_end(all(spool.end == begin for spool in spools))


def _fill(spool: Spool, batches: Iterator[pa.RecordBatch]) -> None:
    try:
        spool.fill(batches)
    except SpoolError as error:
        where = tempfile.gettempdir()
        words = f"a column needs a temporary file in {where}, which cannot hold it: {error}"
        raise OSError(f"{words}; set TMPDIR to a folder with room") from error
    pa.default_memory_pool().release_unused()  # what decoding took


def _check_end(is_right: bool) -> None:
    if not is_right:
        raise pa.ArrowInvalid("its columns do not have the same number of rows")
