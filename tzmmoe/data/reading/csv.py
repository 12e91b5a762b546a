"""CSV files, plain or compressed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from pyarrow import csv

from tzmmoe.data.reading.base import NO_READERS, Source, unreadable
from tzmmoe.data.reading.lines import (
    LONGEST,
    STRIDE,
    Index,
    LongRow,
    QuoteFault,
    Quoting,
    line_number,
    row_blocks,
)
from tzmmoe.data.reading.quoting import SAMPLE_BYTES, chosen
from tzmmoe.data.reading.stream import FAILURES, FIRST_BYTES, head, is_compressed, stream_of
from tzmmoe.errors import DataError

BLOCK_BYTES = 4 << 20
DELIMITERS = (",", "\t", ";", "|")  # the common ones
MAX_QUOTED = 60  # characters of a file's content in an error message

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
    among them, which such a file may lack. A column without a name in the header is called as
    pandas does: ``Unnamed: 0`` is the first of the file. ``quoting``: DOUBLED, ESCAPED, OFF, or
    AUTO, by looking at the first file.
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
        self._renamed: set[str] = set()  # files with columns that have no name
        self.reason = ""  # for the quoting that was chosen
        if quoting == "AUTO":
            is_chosen = True
            quoting, self.reason = chosen(head(self.files[0], SAMPLE_BYTES), delimiter)
        self.quoting = Quoting(quoting, delimiter, is_chosen)

    def columns(self, file: str) -> list[str]:
        if file not in self._columns:
            self.check_unchanged(file)
            with self._failures(file), stream_of(file) as stream:
                blocks = row_blocks(stream.read, FIRST_BYTES, self.quoting)
                block = next(filter(_is_filled, blocks), b"").lstrip(b"\r\n")
                first = block[: self._first_end(block)]
                names = self._read_csv(first, None, None).schema.names
            if self._names is not None:
                names = self._names_without_header(file, len(names))
            elif "" in names:
                names = named(names)
                self._renamed.add(file)
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

    def types(self, file: str, columns: Sequence[str]) -> list[pa.DataType]:
        return [self._types.get(name, pa.string()) for name in columns]

    def check_columns(
        self, file: str, needed: Sequence[str], readers: Mapping[str, str] = NO_READERS
    ) -> None:
        columns = self.columns(file)
        delimiter = other_delimiter(columns)
        if delimiter and not set(needed) <= set(columns):
            raise DataError(
                f"{file}: split by {self._delimiter!r} it has one column, {_quoted(columns[0])}; "
                f"set data_config.delimiter to {delimiter!r}; an export reads files like those of "
                "its training, so there change the file"
            )
        super().check_columns(file, needed, readers)

    def num_rows(self, file: str) -> int:
        if file not in self._indexes:
            self.check_unchanged(file)
            with self._failures(file), stream_of(file) as stream:
                self._indexes[file] = Index.of(stream.read, BLOCK_BYTES, self.quoting)
            self.check_unchanged(file)
        return self._indexes[file].num_rows - self._has_header

    def known_rows(self, file: str) -> int | None:
        return self.num_rows(file) if file in self._indexes else None

    def blocks(self, file: str) -> list[int]:
        """About BLOCK_BYTES each; a compressed file can only be read from its beginning."""
        count = self.num_rows(file)
        if is_compressed(file) or not count:
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
        types = dict(zip(columns, self.types(file, columns), strict=True))
        yield from self._batches(file, types, skip)

    def _countable(self, file: str, skip: int) -> Iterator[pa.RecordBatch]:
        """Rows that are only counted: one column as raw bytes, so no cell can be invalid."""
        return self._batches(file, {self.columns(file)[0]: pa.binary()}, skip)

    def _batches(
        self, file: str, types: Mapping[str, pa.DataType], skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Rows after the first ``skip``, with the columns in ``types``."""
        self.check_unchanged(file)
        row, offset = 0, 0  # the header, if there is one, is row 0
        if file in self._indexes and not is_compressed(file):
            row, offset = self._indexes[file].before(skip + self._has_header)
        skip -= max(row - self._has_header, 0)
        width = len(self._columns[file])
        with self._failures(file), stream_of(file, offset) as stream:
            for block in row_blocks(stream.read, BLOCK_BYTES, self.quoting, width, offset):
                self.check_unchanged(file)
                if not _is_filled(block):
                    continue
                table = self._parsed(file, block, types, row)
                row += table.num_rows + (self._has_header and row == 0)
                # Arrow's skip_rows counts lines, not rows: it would count empty lines, and each
                # line of a cell that spans several.
                yield from table.slice(skip).to_batches()
                skip = max(skip - table.num_rows, 0)
        self.check_unchanged(file)

    def _first_end(self, block: bytes) -> int:
        """Where the first row of a block ends."""
        return int([*self.quoting.row_ends(block, is_last=True), 0][0])

    def _header(self, names: Sequence[str]) -> bytes:
        """The line that names columns so."""
        quotes = {"OFF": None, "DOUBLED": '""', "ESCAPED": '\\"'}[self.quoting.word]
        if quotes:
            names = [f'"{name.replace(chr(34), quotes)}"' for name in names]
        return f"{self._delimiter.join(names)}\n".encode()

    def _parsed(
        self, file: str, block: bytes, types: Mapping[str, pa.DataType], row: int
    ) -> pa.Table:
        """The rows of a block that begins with row ``row``. Raises DataError."""
        names = None if self._has_header and row == 0 else self._columns[file]
        if names is None and file in self._renamed:
            block = block.lstrip(b"\r\n")
            block = self._header(self._columns[file]) + block[self._first_end(block) :]
        try:
            return self._read_csv(block, names, types)
        except pa.ArrowInvalid as error:
            fault: Exception = error
        try:  # again without threads: only then does Arrow say the row
            self._read_csv(block, names, types, use_threads=False)
        except pa.ArrowInvalid as error:
            fault = error
        raise self._fault(file, fault, row - self._has_header) from fault

    def _read_csv(
        self,
        block: bytes,
        names: Sequence[str] | None,
        types: Mapping[str, pa.DataType] | None,
        *,
        use_threads: bool = True,
    ) -> pa.Table:
        """The columns in ``types``; None: all columns, to learn their names. ``names``: of all
        columns; None: they are in the block, or nowhere."""
        return csv.read_csv(
            pa.py_buffer(block),
            read_options=csv.ReadOptions(
                use_threads=use_threads,
                block_size=len(block) + 1,
                column_names=names,
                autogenerate_column_names=names is None and not self._has_header,
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
    def _failures(self, file: str) -> Iterator[None]:
        """Turn what Arrow, the system and the search for rows raise into DataError."""
        try:
            yield
        except QuoteFault as fault:
            self.check_unchanged(file)  # what was read may be of two files
            raise self._quote_fault(file, fault) from fault
        except LongRow as fault:
            size = f"{LONGEST / 2**20:g} MiB"
            line = _line(file, fault.begin)
            raise DataError(
                f"{file}, line {line:,}: a row is longer than {size}; is a line break missing?"
            ) from fault
        except UnicodeDecodeError as error:
            raise DataError(
                f"{file}: its first line is not UTF-8; save the file as UTF-8"
            ) from error
        except FAILURES as error:
            raise unreadable(file, error) from error

    def _quote_fault(self, file: str, fault: QuoteFault) -> DataError:
        line = _line(file, fault.begin)
        remedy = "if quotes are part of the text, set data_config.quoting: OFF"
        if self.quoting.is_chosen and "spans" in fault.reason:
            remedy += f"; if one cell holds these lines, set it to {self.quoting.word}"
        return DataError(
            f"{file}, line {line:,}: the cell that begins here with a quote {fault.reason}; "
            f"close or remove the quote; {remedy}"
        )

    def _fault(self, file: str, error: Exception, before: int) -> DataError:
        """The DataError for an error of Arrow in a block with ``before`` rows of data before it;
        -1 if the block begins with the header, which Arrow counts as a row."""
        text = str(error)
        if match := BAD_CELL.fullmatch(text):
            column, row, reason = match.groups()
            name = self._columns[file][int(column)]
            place = f"{file}, row {before + int(row):,}, column {name!r}"
            return DataError(f"{place}: {self._why(name, reason)}")
        if match := BAD_ROW.fullmatch(text):
            row, expected, count, line = match.groups()
            place = f"{file}, row {before + int(row):,}"
            words = f"expected {expected} columns, got {count}: {_quoted(line)}"
            return DataError(f"{place}: {words}; mend the line, or see data_config.delimiter")
        return unreadable(file, error)

    def _why(self, name: str, reason: str) -> str:
        if "UTF8" in reason:
            return "is not UTF-8; save the file as UTF-8"
        value = reason.removeprefix("invalid value '").removesuffix("'")
        if value == name and self._names is not None:
            words = f"{_quoted(value)} is the name of the column; if the first line holds the names"
            return f"{words}, set data_config.with_header: true"
        kind = next(word for word, kind in TYPES.items() if kind == self._types[name])
        return (
            f"{_quoted(value)} is not of type {kind}; fix the cell, or change the column's "
            "input_type in data_config.input_fields"
        )


def named(names: Sequence[str]) -> list[str]:
    """Names for all columns, also for those that are called ""."""
    found: list[str] = []
    for place, name in enumerate(names):
        new = name or f"Unnamed: {place}"
        while not name and (new in names or new in found):
            new += ".1"
        found.append(new)
    return found


def other_delimiter(columns: Sequence[str]) -> str | None:
    """The likely delimiter of a file that was read as a single column, by its name; else None."""
    if len(columns) != 1:
        return None
    delimiter = max(DELIMITERS, key=columns[0].count)
    return delimiter if delimiter in columns[0] else None


def _is_filled(block: bytes) -> bool:
    """Whether there is more than empty lines, which Arrow takes for an empty file."""
    return bool(block.strip(b"\r\n"))


def _line(file: str, offset: int) -> int:
    """The number of the line, counted from 1, that a byte lies in."""
    with stream_of(file) as stream:
        return line_number(stream.read, BLOCK_BYTES, offset)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}...")
