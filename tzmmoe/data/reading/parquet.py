"""Parquet files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from tzmmoe.data.reading.base import Source, unreadable
from tzmmoe.errors import DataError

ROWS = 1 << 16  # rows read at a time; a row group may be far larger
BUFFER_BYTES = 1 << 20  # per column; without it, Arrow buffers whole row groups
FAILURES = (pa.ArrowException, OSError, UnicodeDecodeError)  # the last one: a damaged name


@dataclass(frozen=True)
class Footer:
    """What the footer of a file says."""

    schema: pa.Schema
    names: list[str]
    num_rows: int


class ParquetSource(Source):
    """Parquet files, streamed. Text is read dictionary-encoded, as Parquet mostly stores it."""

    def __init__(self, files: Sequence[str]) -> None:
        super().__init__(files)
        self._footers: dict[str, Footer] = {}

    def columns(self, file: str) -> list[str]:
        return list(self._footer(file).names)

    def num_rows(self, file: str) -> int:
        return self._footer(file).num_rows

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        self.check_columns(file, columns)
        schema = self._footer(file).schema
        self.check_unchanged(file)
        texts = [
            name
            for name in columns
            if pa.types.is_string(schema.field(name).type)
            or pa.types.is_large_string(schema.field(name).type)
        ]
        try:
            with pq.ParquetFile(
                file,
                read_dictionary=texts,
                pre_buffer=False,
                buffer_size=BUFFER_BYTES,
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
                for batch in parquet.iter_batches(ROWS, row_groups=groups, columns=list(columns)):
                    self.check_unchanged(file)
                    check_cells(file, begin, batch)
                    begin += batch.num_rows
                    if skip >= batch.num_rows:
                        skip -= batch.num_rows
                        continue
                    yield batch.slice(skip).select(list(columns))
                    skip = 0
        except FAILURES as error:
            raise unreadable(file, error) from error
        self.check_unchanged(file)

    def _footer(self, file: str) -> Footer:
        if file not in self._footers:
            self.check_unchanged(file)
            try:
                with pq.ParquetFile(file) as parquet:
                    schema = parquet.schema_arrow
                    rows = parquet.metadata.num_rows
                    self._footers[file] = Footer(schema, schema.names, rows)
            except FAILURES as error:
                raise unreadable(file, error) from error
        return self._footers[file]


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
