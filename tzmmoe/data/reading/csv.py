"""CSV files, plain or compressed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from tzmmoe.data.reading.base import Source, unreadable
from tzmmoe.data.reading.lines import (
    STRIDE,
    Index,
    QuoteFault,
    Quoting,
    check_blocks,
    line_number,
)
from tzmmoe.data.reading.quoting import SAMPLE_BYTES, chosen
from tzmmoe.errors import DataError

BLOCK_BYTES = 4 << 20
FIRST_BYTES = 1 << 16  # enough to hold a header line
DELIMITERS = (",", "\t", ";", "|")  # the common ones
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
MAX_QUOTED = 60  # characters of a file's content in an error message

FAILURES = (pa.ArrowException, OSError, UnicodeDecodeError)
# Arrow's messages. It counts columns from 0, rows from 1, and the header line as a row.
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
    """CSV files. Columns are read as text unless ``types`` says otherwise, so that "007" stays
    "007"; features and labels parse their numbers. An empty cell is a missing value, and so is one
    that holds one of ``null_values``.

    ``names``: all columns in order, for files without a header. ``targets``: the labels and weights
    among them, which such a file may lack. ``quoting``: DOUBLED, ESCAPED, OFF, or AUTO, by looking
    at the first file.
    """

    def __init__(
        self,
        files: Sequence[str],
        *,
        delimiter: str,
        with_header: bool,
        names: Sequence[str],
        types: Mapping[str, str | None],
        targets: Sequence[str],
        quoting: str = "AUTO",
        is_chosen: bool = False,
        null_values: Sequence[str] = (),
    ) -> None:
        super().__init__(files)
        if not with_header and not names:
            raise DataError(
                f"{self.files[0]}: data_config.with_header is false, so data_config.input_fields "
                "must list all columns in order; if the first line holds the names, set "
                "with_header: true"
            )
        self._names = None if with_header else list(names)
        self._targets = frozenset(targets)
        self._delimiter = delimiter
        self._types = {name: TYPES[kind] for name, kind in types.items() if kind}
        self._null_values = ["", *null_values]
        self._indexes: dict[str, Index] = {}
        self._columns: dict[str, list[str]] = {}
        self.reason = ""  # for the quoting that was chosen
        if quoting == "AUTO":
            is_chosen = True
            quoting, self.reason = chosen(_head(self.files[0]), delimiter)
        self.quoting = Quoting(quoting, delimiter, is_chosen)

    def columns(self, file: str) -> list[str]:
        if file not in self._columns:
            self.check_unchanged(file)
            with self._failures(file, None), self._open(file, None) as reader:
                names = reader.schema.names
            if self._names is not None:
                names = self._names_without_header(file, len(names))
            self._columns[file] = names
        return self._columns[file]

    def _names_without_header(self, file: str, count: int) -> list[str]:
        """Names for the ``count`` columns of a file: all names, or those of no target."""
        inputs = [name for name in self._names if name not in self._targets]
        for names in (self._names, inputs):
            if len(names) == count:
                return names
        size, remedy = f"{count} columns", "list all columns, in order"
        if count == 1:
            size = "1 column"
            remedy = f"if {self._delimiter!r} is not its delimiter, set data_config.delimiter"
        raise DataError(
            f"{file}: has {size}, but data_config.input_fields lists {len(self._names)}; {remedy}"
        )

    def check_columns(self, file: str, needed: Sequence[str]) -> None:
        columns = self.columns(file)
        delimiter = other_delimiter(columns)
        if delimiter and not set(needed) <= set(columns):
            raise DataError(
                f"{file}: split by {self._delimiter!r} it has one column, {_quoted(columns[0])}; "
                f"set data_config.delimiter to {delimiter!r}; an export reads files like those of "
                "its training, so there change the file"
            )
        super().check_columns(file, needed)

    def num_rows(self, file: str) -> int:
        if file not in self._indexes:
            self.check_unchanged(file)
            with self._failures(file, None), _stream(file) as stream:
                self._indexes[file] = Index.of(stream.read, BLOCK_BYTES, self.quoting)
            self.check_unchanged(file)
        return self._indexes[file].num_rows - self._has_header

    def known_rows(self, file: str) -> int | None:
        return self.num_rows(file) if file in self._indexes else None

    def blocks(self, file: str) -> list[int]:
        """About BLOCK_BYTES each; a compressed file can only be read from its beginning."""
        count = self.num_rows(file)
        if _is_compressed(file) or not count:
            return [count]
        offsets = self._indexes[file].offsets
        entries = np.searchsorted(offsets, np.arange(BLOCK_BYTES, offsets[-1], BLOCK_BYTES))
        begins = np.unique(entries) * STRIDE - self._has_header
        return np.diff([0, *begins, count]).tolist()

    @property
    def _has_header(self) -> bool:
        return self._names is None

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        self.check_columns(file, columns)
        if not columns:  # Arrow cannot read zero columns; the rows must still be counted
            for batch in self._countable(file, skip):
                yield batch.select([])
            return
        types = {name: self._types.get(name, pa.string()) for name in columns}
        yield from self._batches(file, types, skip)

    def _countable(self, file: str, skip: int) -> Iterator[pa.RecordBatch]:
        """Rows that are only counted: one column as raw bytes, so no cell can be invalid."""
        return self._batches(file, {self.columns(file)[0]: pa.binary()}, skip)

    def _batches(
        self, file: str, types: Mapping[str, pa.DataType], skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Rows after the first ``skip``, with the columns in ``types``."""
        self.check_unchanged(file)
        offset = 0
        if file in self._indexes and not _is_compressed(file):
            row, begin = self._indexes[file].before(skip + self._has_header)
            if row:
                skip, offset = skip + self._has_header - row, begin
        with self._failures(file, types), self._open(file, types, offset=offset) as reader:
            for batch in reader:
                self.check_unchanged(file)
                # Arrow's skip_rows counts lines, not rows: it would count empty lines, and each
                # line of a cell that spans several.
                yield batch.slice(skip)
                skip = max(skip - batch.num_rows, 0)
        self.check_unchanged(file)

    def _open(
        self,
        file: str,
        types: Mapping[str, pa.DataType] | None,
        *,
        offset: int = 0,
        use_threads: bool = True,
    ) -> csv.CSVStreamingReader:
        """A reader of the columns in ``types``, from a row on that begins at a byte; None: of all
        columns, to learn their names."""
        stream = _stream(file, offset)
        if types and self.quoting.word != "OFF":
            stream = pa.PythonFile(
                CheckedFile(stream, offset, self.quoting, len(self._columns[file])), "r"
            )
        # Without a header, Arrow makes up names until it is known which columns there are.
        names = self._columns[file] if types and (self._names or offset) else None
        return csv.open_csv(
            stream,
            read_options=csv.ReadOptions(
                use_threads=use_threads,
                block_size=BLOCK_BYTES,
                column_names=names,
                autogenerate_column_names=bool(self._names) and not types,
            ),
            parse_options=csv.ParseOptions(
                delimiter=self._delimiter,
                quote_char=False if self.quoting.word == "OFF" else '"',
                escape_char="\\" if self.quoting.word == "ESCAPED" else False,
                newlines_in_values=self.quoting.word != "OFF",
            ),
            convert_options=csv.ConvertOptions(
                check_utf8=types is not None,
                include_columns=list(types) if types else None,
                column_types=types,
                null_values=self._null_values,
                strings_can_be_null=True,
            ),
        )

    @contextmanager
    def _failures(self, file: str, types: Mapping[str, pa.DataType] | None) -> Iterator[None]:
        """Turn what Arrow, the system and the check of quotes raise into DataError."""
        try:
            yield
        except QuoteFault as fault:
            raise self._quote_fault(file, fault) from fault
        except FAILURES as error:
            self._check_quotes(file)  # a stray one shifts the cells of other rows
            raise self._fault(file, types, error) from error

    def _check_quotes(self, file: str) -> None:
        """Raise DataError for the first quote that contradicts the quoting."""
        try:
            with suppress(*FAILURES), _stream(file) as stream:
                width = first_line(file).count(self._delimiter) + 1
                for _ in check_blocks(stream.read, BLOCK_BYTES, self.quoting, width):
                    pass
        except QuoteFault as fault:
            raise self._quote_fault(file, fault) from fault

    def _quote_fault(self, file: str, fault: QuoteFault) -> DataError:
        with _stream(file) as stream:
            line = line_number(stream.read, BLOCK_BYTES, fault.begin)
        remedy = "if quotes are part of the text, set data_config.quoting: OFF"
        if self.quoting.is_chosen and "spans" in fault.reason:
            remedy += f"; if one cell holds these lines, set it to {self.quoting.word}"
        return DataError(
            f"{file}, line {line:,}: the cell that begins here with a quote {fault.reason}; "
            f"close or remove the quote; {remedy}"
        )

    def _fault(
        self, file: str, types: Mapping[str, pa.DataType] | None, error: Exception
    ) -> DataError:
        """The DataError for an error of Arrow, with the row if it can be located."""
        if isinstance(error, pa.ArrowInvalid) and "CSV" in str(error):
            error = self._located(file, types) or error
        text = str(error)
        if match := BAD_CELL.fullmatch(text):
            column, row, reason = match.groups()
            name = self._columns[file][int(column)]
            return DataError(f"{self._row(file, row)}, column {name!r}: {self._why(name, reason)}")
        if match := BAD_ROW.fullmatch(text):
            row, expected, count, line = match.groups()
            return DataError(
                f"{self._row(file, row)}: expected {expected} columns, got {count}: {_quoted(line)}"
            )
        if isinstance(error, UnicodeDecodeError):
            return DataError(f"{file}: its first line is not UTF-8; save the file as UTF-8")
        if "straddl" in text:  # "straddling object straddles two block boundaries"
            size = f"{BLOCK_BYTES / 2**20:g} MiB"
            return DataError(f"{file}: a row is longer than {size}; is a closing quote missing?")
        return unreadable(file, error)

    def _located(self, file: str, types: Mapping[str, pa.DataType] | None) -> Exception | None:
        """The error of reading the file again without threads: only then does Arrow say the row."""
        try:
            with self._open(file, types, use_threads=False) as reader:
                for _ in reader:
                    pass
        except FAILURES as error:
            return error
        return None

    def _row(self, file: str, number: str) -> str:
        # Rows of data are numbered from 1, so the header line does not count.
        return f"{file}, row {int(number) - (self._names is None):,}"

    def _why(self, name: str, reason: str) -> str:
        if "UTF8" in reason:
            return "is not UTF-8; save the file as UTF-8"
        value = reason.removeprefix("invalid value '").removesuffix("'")
        kind = next(word for word, kind in TYPES.items() if kind == self._types[name])
        return (
            f"{_quoted(value)} is not of type {kind}; fix the cell, or change the column's "
            "input_type in data_config.input_fields"
        )


def other_delimiter(columns: Sequence[str]) -> str | None:
    """The likely delimiter of a file that was read as a single column, by its name; else None."""
    if len(columns) != 1:
        return None
    delimiter = max(DELIMITERS, key=columns[0].count)
    return delimiter if delimiter in columns[0] else None


def first_line(file: str) -> str:
    """The first line of a file that is not empty. Raises DataError if the file cannot be read."""
    try:
        with _stream(file) as stream:
            lines = stream.read(FIRST_BYTES).decode("utf-8-sig", errors="replace").splitlines()
    except FAILURES as error:
        raise unreadable(file, error) from error
    return next(filter(None, lines), "")


class CheckedFile:
    """A file whose quotes are checked while Arrow reads it, from a row on."""

    closed = False

    def __init__(
        self, stream: pa.NativeFile, begin: int, quoting: Quoting, num_columns: int
    ) -> None:
        self._stream = stream
        self._begin = begin
        self._blocks = check_blocks(stream.read, BLOCK_BYTES, quoting, num_columns)

    def read(self, size: int) -> bytes:
        """The next block, whatever the ``size``."""
        try:
            return next(self._blocks, b"")
        except QuoteFault as fault:
            raise QuoteFault(self._begin + fault.begin, fault.reason) from fault

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True
        self._stream.close()


def _stream(file: str, offset: int = 0) -> pa.NativeFile:
    """The decompressed bytes of a file, from one on. Raises DataError for UTF-16."""
    with pa.input_stream(file, compression="detect") as stream:
        if stream.read(2) in UTF16:
            raise DataError(f"{file}: is UTF-16; save it as UTF-8")
    if not offset:
        return pa.input_stream(file, compression="detect")
    stream = pa.OSFile(file)
    stream.seek(offset)
    return stream


def _is_compressed(file: str) -> bool:
    return Path(file).suffix.lower() in COMPRESSED


def _head(file: str) -> bytes:
    """The first bytes of a file; all of a smaller one ends with a line break."""
    try:
        with _stream(file) as stream:
            head = stream.read(SAMPLE_BYTES)
            return head if len(head) == SAMPLE_BYTES or head.endswith(b"\n") else head + b"\n"
    except FAILURES as error:
        raise unreadable(file, error) from error


def _quoted(text: str) -> str:
    return repr(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}...")
