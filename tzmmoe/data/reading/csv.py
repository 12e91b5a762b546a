"""CSV files, plain or compressed."""

import re
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
from pyarrow import csv

from tzmmoe.data.reading.base import Source, unreadable
from tzmmoe.errors import DataError

BLOCK_BYTES = 4 << 20
FIRST_BYTES = 1 << 16  # enough for a line of names
DELIMITERS = (",", "\t", ";", "|")  # that files commonly have
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # marks of its byte order
SHOWN = 60  # characters of what a file holds, in an error

FAILURES = (pa.ArrowException, OSError, UnicodeDecodeError)
# What Arrow says: columns count from 0, and the line of names is a row.
BAD_CELL = re.compile(r"In CSV column #(\d+): Row #(\d+): CSV conversion error to \S+: (.*)", re.S)
BAD_ROW = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.S)

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
            self.check_unchanged(file)
            try:
                with self._open(file, None) as opened:
                    there = opened.schema.names
            except FAILURES as error:
                raise self._fault(file, None, error) from error
            self._columns[file] = there if self._names is None else self._named(file, len(there))
        return self._columns[file]

    def _named(self, file: str, count: int) -> list[str]:
        """Names for a file without header; it may lack all labels and weights."""
        plain = [name for name in self._names if name not in self._targets]
        for names in (self._names, plain):
            if len(names) == count:
                return names
        way = "name them all, in order"
        if count == 1:
            way = f"is {self._delimiter!r} between them? set data_config.delimiter"
        raise DataError(
            f"{file}: has {count} columns, but data_config.input_fields names {len(self._names)}; "
            f"{way}"
        )

    def check_columns(self, file: str, wanted: Sequence[str]) -> None:
        there = self.columns(file)
        mark = other_delimiter(there)
        if mark and not set(wanted) <= set(there):
            raise DataError(
                f"{file}: has one column, {_shown(there[0])}, where {self._delimiter!r} delimits; "
                f"set data_config.delimiter to {mark!r}"
            )
        super().check_columns(file, wanted)

    def num_rows(self, file: str) -> int:
        if file not in self._num_rows:
            self._num_rows[file] = sum(batch.num_rows for batch in self._bare(file, 0))
        return self._num_rows[file]

    def known_rows(self, file: str) -> int | None:
        return self._num_rows.get(file)

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        self.check_columns(file, columns)
        if not columns:  # rows without columns: only their number counts
            for batch in self._bare(file, skip):
                yield batch.select([])
            return
        types = {name: self._types.get(name, pa.string()) for name in columns}
        yield from self._batches(file, types, skip)

    def _bare(self, file: str, skip: int) -> Iterator[pa.RecordBatch]:
        """Rows for their number: the bytes of a column, whatever they mean."""
        return self._batches(file, {self.columns(file)[0]: pa.binary()}, skip)

    def _batches(
        self, file: str, types: Mapping[str, pa.DataType], skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Arrow's own skipping counts lines: empty ones, and each of a cell that has several."""
        self.check_unchanged(file)
        try:
            with self._open(file, types) as opened:
                for batch in opened:
                    self.check_unchanged(file)
                    yield batch.slice(skip)
                    skip = max(skip - batch.num_rows, 0)
        except FAILURES as error:
            raise self._fault(file, types, error) from error
        self.check_unchanged(file)

    def _open(
        self, file: str, types: Mapping[str, pa.DataType] | None, *, use_threads: bool = True
    ) -> csv.CSVStreamingReader:
        """Rows of the columns in ``types``; None for all columns, of which only names count."""
        return csv.open_csv(
            _stream(file),
            read_options=csv.ReadOptions(
                use_threads=use_threads,
                block_size=BLOCK_BYTES,
                column_names=self._columns[file] if self._names and types else None,
                autogenerate_column_names=bool(self._names) and not types,
            ),
            parse_options=csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                check_utf8=types is not None,
                include_columns=list(types) if types else None,
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    def _fault(
        self, file: str, types: Mapping[str, pa.DataType] | None, error: Exception
    ) -> DataError:
        """What is wrong with a file, by the row where it can be told."""
        if isinstance(error, pa.ArrowInvalid) and "CSV" in str(error):
            error = self._placed(file, types) or error
        said = str(error)
        if found := BAD_CELL.fullmatch(said):
            place, row, reason = found.groups()
            name = self._columns[file][int(place)]
            return DataError(f"{self._row(file, row)}, column {name!r}: {self._why(name, reason)}")
        if found := BAD_ROW.fullmatch(said):
            row, expected, count, text = found.groups()
            return DataError(
                f"{self._row(file, row)}: expected {expected} columns, got {count}: {_shown(text)}"
            )
        if isinstance(error, UnicodeDecodeError):
            return DataError(f"{file}: its first line is not UTF-8; save the file as UTF-8")
        if "straddl" in said:
            size = f"{BLOCK_BYTES / 2**20:g} MiB"
            return DataError(f"{file}: a row is longer than {size}; is a quote never closed?")
        return unreadable(file, error)

    def _placed(self, file: str, types: Mapping[str, pa.DataType] | None) -> Exception | None:
        """The error of the same reading without threads: only then does Arrow tell the row."""
        try:
            with self._open(file, types, use_threads=False) as opened:
                for _ in opened:
                    pass
        except FAILURES as error:
            return error
        return None

    def _row(self, file: str, number: str) -> str:
        return f"{file}, row {int(number) - (self._names is None):,}"

    def _why(self, name: str, reason: str) -> str:
        if "UTF8" in reason:
            return "is not UTF-8; save the file as UTF-8"
        value = reason.removeprefix("invalid value '").removesuffix("'")
        kind = next(word for word, kind in TYPES.items() if kind == self._types[name])
        return (
            f"{_shown(value)} is no {kind}, which data_config.input_fields says; repair it, or "
            "change its input_type"
        )


def other_delimiter(columns: Sequence[str]) -> str | None:
    """What seems to delimit a file that was cut into a single column; None when nothing does."""
    if len(columns) != 1:
        return None
    mark = max(DELIMITERS, key=columns[0].count)
    return mark if mark in columns[0] else None


def first_line(file: str) -> str:
    """Raises DataError when the file cannot be read."""
    try:
        with _stream(file) as opened:
            lines = opened.read(FIRST_BYTES).decode("utf-8-sig", errors="replace").splitlines()
    except FAILURES as error:
        raise unreadable(file, error) from error
    return next(filter(None, lines), "")


def _stream(file: str) -> pa.NativeFile:
    """The bytes of a file, decompressed."""
    with pa.input_stream(file, compression="detect") as opened:
        if opened.read(2) in UTF16:
            raise DataError(f"{file}: is UTF-16; save it as UTF-8")
    return pa.input_stream(file, compression="detect")


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
