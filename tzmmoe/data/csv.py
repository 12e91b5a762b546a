"""CSV files, plain or compressed."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
from pyarrow import csv

from tzmmoe.data.base import Source, unreadable
from tzmmoe.errors import DataError

BLOCK_BYTES = 4 << 20

TYPES = {
    "INT32": pa.int32(),
    "INT64": pa.int64(),
    "STRING": pa.string(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "BOOL": pa.bool_(),
}


class CsvSource(Source):
    """CSV files. Columns are text unless ``types`` says otherwise, so that "007" stays "007"; what
    reads them makes them numbers. An empty cell is a missing value."""

    def __init__(
        self,
        files: Sequence[str],
        *,
        delimiter: str,
        with_header: bool,
        names: Sequence[str],
        types: Mapping[str, str | None],
        targets: Sequence[str],
    ) -> None:
        super().__init__(files)
        if not with_header and not names:
            raise DataError(
                f"{self.files[0]}: data_config.with_header is false, so data_config.input_fields "
                "must name all columns in order; if the first line holds the names, set "
                "with_header: true"
            )
        self._names = None if with_header else list(names)
        self._targets = frozenset(targets)
        self._delimiter = delimiter
        self._types = {name: TYPES[kind] for name, kind in types.items() if kind}
        self._num_rows: dict[str, int] = {}
        self._columns: dict[str, list[str]] = {}

    def columns(self, file: str) -> list[str]:
        if file not in self._columns:
            with self._open(file, None) as opened:
                there = opened.schema.names
            self._columns[file] = there if self._names is None else self._named(file, len(there))
        return self._columns[file]

    def _named(self, file: str, count: int) -> list[str]:
        """Names for a file without header; it may lack all labels and weights."""
        plain = [name for name in self._names if name not in self._targets]
        for names in (self._names, plain):
            if len(names) == count:
                return names
        raise DataError(
            f"{file}: has {count} columns, but data_config.input_fields names {len(self._names)}; "
            "name them all, in order"
        )

    def num_rows(self, file: str) -> int:
        if file not in self._num_rows:
            first = self.columns(file)[:1]
            self._num_rows[file] = sum(b.num_rows for b in self._batches(file, first, 0))
        return self._num_rows[file]

    def known_rows(self, file: str) -> int | None:
        return self._num_rows.get(file)

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        self.check_columns(file, columns)
        if not columns:  # rows without columns: only their number counts
            for batch in self._batches(file, self.columns(file)[:1], skip):
                yield batch.select([])
            return
        yield from self._batches(file, columns, skip)

    def _batches(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        """Arrow's own skipping counts lines: empty ones, and each of a cell that has several."""
        try:
            with self._open(file, columns) as opened:
                for batch in opened:
                    yield batch.slice(skip)
                    skip = max(skip - batch.num_rows, 0)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise unreadable(file, error) from error

    def _open(self, file: str, columns: Sequence[str] | None) -> csv.CSVStreamingReader:
        types = {name: pa.string() for name in columns or ()} | self._types
        try:
            return csv.open_csv(
                pa.input_stream(file, compression="detect"),
                read_options=csv.ReadOptions(
                    block_size=BLOCK_BYTES,
                    column_names=self._columns[file] if self._names and columns else None,
                    autogenerate_column_names=bool(self._names) and not columns,
                ),
                parse_options=csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    include_columns=list(columns) if columns else None,
                    column_types=types,
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise unreadable(file, error) from error
