"""Parquet files."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from tzmmoe.data.base import Source, unreadable

ROWS = 1 << 16  # read at a time: a row group may be far larger
BUFFER_BYTES = 1 << 20  # of a column; without it Arrow holds all that it will read in memory


class ParquetSource(Source):
    """Parquet files, streamed; texts arrive dictionary-encoded, as Parquet mostly stores them."""

    def __init__(self, files: Sequence[str]) -> None:
        super().__init__(files)
        self._known: dict[str, tuple[pa.Schema, int]] = {}

    def columns(self, file: str) -> list[str]:
        return self._schema(file).names

    def num_rows(self, file: str) -> int:
        return self._metadata(file)[1]

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        self.check_columns(file, columns)
        schema = self._schema(file)
        texts = [
            name
            for name in columns
            if pa.types.is_string(schema.field(name).type)
            or pa.types.is_large_string(schema.field(name).type)
        ]
        try:
            with pq.ParquetFile(
                file, read_dictionary=texts, pre_buffer=False, buffer_size=BUFFER_BYTES
            ) as opened:
                groups = []
                for group in range(opened.num_row_groups):
                    rows = opened.metadata.row_group(group).num_rows
                    if groups or skip < rows:
                        groups.append(group)
                    else:
                        skip -= rows
                for batch in opened.iter_batches(ROWS, row_groups=groups, columns=list(columns)):
                    if skip >= batch.num_rows:
                        skip -= batch.num_rows
                        continue
                    yield batch.slice(skip).select(list(columns))
                    skip = 0
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, error) from error

    def _schema(self, file: str) -> pa.Schema:
        return self._metadata(file)[0]

    def _metadata(self, file: str) -> tuple[pa.Schema, int]:
        if file not in self._known:
            try:
                with pq.ParquetFile(file) as opened:
                    self._known[file] = (opened.schema_arrow, opened.metadata.num_rows)
            except (pa.ArrowException, OSError) as error:
                raise unreadable(file, error) from error
        return self._known[file]
