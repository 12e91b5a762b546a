"""Parquet files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from tzmmoe.data.reading import apart
from tzmmoe.data.reading.base import Source, unreadable
from tzmmoe.data.reading.footer import Footer, opened
from tzmmoe.errors import DataError

ROWS = 1 << 15  # rows read at a time; a row group may be far larger
BATCH_BYTES = 4 << 20  # about so many are decoded at a time, if that is fewer than ROWS
BUFFER_BYTES = 1 << 20  # per column; without it, Arrow buffers whole row groups
BUFFERS_BYTES = 8 << 20  # of all columns
# Arrow keeps all words of a row group in the dictionary of a column that it reads as one. Such a
# column takes at most this, all of them the second; other texts are encoded batch by batch.
DICTIONARY_BYTES = 4 << 20
DICTIONARIES_BYTES = 32 << 20
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}  # in bytes
TEXT_BYTES = 16  # of a value, at least, with its offset
FAILURES = (pa.ArrowException, OSError, UnicodeDecodeError)  # the last one: a damaged name


@dataclass(frozen=True)
class Decoding:
    """How columns are decoded with little memory.

    rows: at a time. buffer_bytes: of each column. dictionaries: texts that Arrow reads as such.
    """

    rows: int
    buffer_bytes: int
    dictionaries: list[str]


class ParquetSource(Source):
    """Parquet files, streamed. Text is read dictionary-encoded, as Parquet mostly stores it."""

    def __init__(self, files: Sequence[str]) -> None:
        super().__init__(files)
        self._footers: dict[str, Footer] = {}

    def columns(self, file: str) -> list[str]:
        return list(self._footer(file).names)

    def types(self, file: str, columns: Sequence[str]) -> list[pa.DataType]:
        kinds = [self._footer(file).schema.field(name).type for name in columns]
        return [pa.string() if _is_text(kind) else kind for kind in kinds]

    def num_rows(self, file: str) -> int:
        return self._footer(file).num_rows

    def blocks(self, file: str) -> list[int]:
        return list(self._footer(file).blocks)

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        self.check_columns(file, columns)
        schema = self._footer(file).schema
        self.check_unchanged(file)
        texts = [name for name in columns if _is_text(schema.field(name).type)]
        try:
            with opened(file) as parquet:
                how = _decoding(parquet, schema, columns, texts)
            with opened(
                file,
                read_dictionary=how.dictionaries,
                pre_buffer=False,
                buffer_size=how.buffer_bytes,
                page_checksum_verification=True,  # for pages that have a checksum
            ) as parquet:
                # Row groups that end before the first requested row are not even opened.
                groups, begin = [], 0
                for group in range(parquet.num_row_groups):
                    rows = parquet.metadata.row_group(group).num_rows
                    if groups or skip < rows:
                        groups.append(group)
                    else:
                        skip -= rows
                        begin += rows
                for batch in apart.batches(parquet, groups, columns, how.rows, how.dictionaries):
                    self.check_unchanged(file)
                    check_cells(file, begin, batch)
                    begin += batch.num_rows
                    if skip >= batch.num_rows:
                        skip -= batch.num_rows
                        continue
                    yield _encoded(batch.slice(skip).select(list(columns)), texts)
                    skip = 0
        except FAILURES as error:
            raise unreadable(file, error) from error
        self.check_unchanged(file)

    def _footer(self, file: str) -> Footer:
        if file not in self._footers:
            self.check_unchanged(file)
            try:
                with opened(file) as parquet:
                    schema = parquet.schema_arrow
                    rows = parquet.metadata.num_rows
                    blocks = _blocks(parquet.metadata)
                    self._footers[file] = Footer(schema, schema.names, rows, blocks)
            except FAILURES as error:
                raise unreadable(file, error) from error
        return self._footers[file]


def _blocks(metadata: pq.FileMetaData) -> list[int]:
    """The rows of each row group; small ones that follow one another make up one block."""
    blocks: list[int] = []
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if blocks and blocks[-1] + rows <= ROWS:
            blocks[-1] += rows
        else:
            blocks.append(rows)
    return blocks


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _decoding(
    parquet: pq.ParquetFile, schema: pa.Schema, columns: Sequence[str], texts: Sequence[str]
) -> Decoding:
    """How to decode columns, by the sizes of the largest row group."""
    metadata = parquet.metadata
    group_bytes = [metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)]
    if max(group_bytes, default=0) <= DICTIONARIES_BYTES:
        return Decoding(ROWS, BUFFER_BYTES, list(texts))
    largest = group_bytes.index(max(group_bytes))
    apart.probe(parquet, largest, columns)
    group = metadata.row_group(largest)
    sizes: dict[str, int] = {}  # in the file, uncompressed
    row_bytes, num_leaves = 1.0, 0
    leaves = [field.name for field in schema for _ in range(_num_leaves(field.type))]
    for number, name in enumerate(leaves if group.num_rows else ()):
        if name in columns:
            leaf = group.column(number)
            size = leaf.total_uncompressed_size
            sizes[name] = sizes.get(name, 0) + size
            width = WIDTHS.get(leaf.physical_type)
            value_bytes = width or max(TEXT_BYTES, size / max(leaf.num_values, 1))
            row_bytes += value_bytes * leaf.num_values / group.num_rows
            num_leaves += 1
    dictionaries, held = [], 0
    for name in sorted(texts, key=lambda name: sizes.get(name, 0)):
        held += sizes.get(name, 0)
        if sizes.get(name, 0) <= DICTIONARY_BYTES and held <= DICTIONARIES_BYTES:
            dictionaries.append(name)
    buffer_bytes = min(BUFFER_BYTES, max(BUFFERS_BYTES // max(num_leaves, 1), 1 << 14))
    rows = max(1, min(ROWS, int(BATCH_BYTES / row_bytes)))
    return Decoding(rows, buffer_bytes, dictionaries)


def _num_leaves(kind: pa.DataType) -> int:
    """How many columns of Parquet store a type."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if not pa.types.is_nested(kind):
        return 1
    return sum(_num_leaves(kind.field(number).type) for number in range(kind.num_fields))


def _encoded(batch: pa.RecordBatch, texts: Sequence[str]) -> pa.RecordBatch:
    """The batch with its texts as dictionaries, in which features look up each word once."""
    columns = list(batch.columns)
    for number, column in enumerate(columns):
        if batch.schema.names[number] in texts and _is_text(column.type):
            columns[number] = column.cast(pa.string()).dictionary_encode()
    if not columns:
        return batch
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def check_cells(file: str, begin: int, batch: pa.RecordBatch) -> None:
    """Raise DataError for a damaged cell, which could otherwise pass for another value.

    The batch begins at row ``begin`` of the file, counted from 0.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowException as error:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            # Arrow does not say which row, so search cell by cell; the run ends here anyway.
            row = next((r for r in range(len(column)) if _is_damaged(column.take([r]))), None)
            if row is not None:
                place = f"{file}, row {begin + row + 1:,}, column {name!r}"
                raise DataError(f"{place}: is damaged, or is not UTF-8") from error
        raise


def _is_damaged(cell: pa.Array) -> bool:
    try:
        if pa.types.is_dictionary(cell.type):
            cell = cell.dictionary.take(cell.indices)
        cell.validate(full=True)
    except pa.ArrowException:
        return True
    return False
