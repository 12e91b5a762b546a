"""Sources of rows, and chunks that remember which files their rows come from."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tzmmoe.errors import DataError, did_you_mean, few, hints_pay

ALL_COLUMNS = "ALL_COLUMNS"
NO_READERS: Mapping[str, str] = {}


@dataclass(frozen=True)
class FileRows:
    """``num_rows`` rows of a file, starting at its row ``first_row``, counted from 0."""

    path: str
    first_row: int
    num_rows: int
    source: "Source | None" = None  # which knows the places of its rows in the file


@dataclass(frozen=True)
class Chunk:
    """Rows that are encoded together, and the files that they come from, in order.

    ``begin`` is where the chunk begins and ``then`` where the next one does: the number of a span
    in the pass, and a row in that span. After the last row of a span that is the next span's row 0.
    ``parts``: the rows; those of each part are stored as the same types. ``taken``: the rows of
    ``file_rows`` that ``parts`` hold, in ascending order; None: all.
    """

    index: int  # in the pass
    parts: tuple[pa.RecordBatch, ...]
    file_rows: tuple[FileRows, ...]
    begin: tuple[int, int] = (0, 0)
    then: tuple[int, int] = (0, 0)
    taken: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        return sum(part.num_rows for part in self.parts)

    @property
    def num_bytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def take(self, taken: np.ndarray) -> "Chunk":
        """The chunk with only these rows, whose numbers ascend."""
        ends = np.cumsum([part.num_rows for part in self.parts])
        numbers = np.split(taken, np.searchsorted(taken, ends[:-1]))
        parts = [
            part.take(pa.array(rows - (end - part.num_rows)))
            for part, rows, end in zip(self.parts, numbers, ends, strict=True)
        ]
        return replace(self, parts=tuple(parts), taken=taken)

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """A random number in [0, 1) for each row, whatever other rows were taken."""
        numbers = random.random(sum(part.num_rows for part in self.file_rows))
        return numbers if self.taken is None else numbers[self.taken]

    def place(self, row: int) -> str:
        """``file, row 17`` for a row of ``parts``; rows of a file are numbered from 1."""
        file_rows, place = self._origin(row)
        if file_rows is None:
            return self.path(row)
        number = file_rows.first_row + place
        if file_rows.source:
            number = file_rows.source.row_number(file_rows.path, number)
        return f"{file_rows.path}, row {number + 1:,}"

    def path(self, row: int) -> str:
        """The file of a row of ``parts``."""
        file_rows, _ = self._origin(row)
        if file_rows is None:  # the chunk has no rows
            return self.file_rows[-1].path if self.file_rows else "(no file)"
        return file_rows.path

    def _origin(self, row: int) -> tuple[FileRows | None, int]:
        """The rows of a file to which a row belongs, and its number among them."""
        row = row if self.taken is None else int(self.taken[row])
        for file_rows in self.file_rows:
            if row < file_rows.num_rows:
                return file_rows, row
            row -= file_rows.num_rows
        return None, row


class Source(ABC):
    """A list of files of one kind, read as record batches."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = tuple(files)
        self._stamps: dict[str, tuple[int, int, int]] = {}

    @abstractmethod
    def columns(self, file: str) -> list[str]:
        """The names of a file's columns."""

    @abstractmethod
    def types(self, file: str, columns: Sequence[str]) -> list[pa.DataType]:
        """The types of columns of a file, which ``read`` may give dictionary-encoded."""

    @abstractmethod
    def num_rows(self, file: str) -> int:
        """The number of rows of a file; for CSV, this reads the file."""

    def known_rows(self, file: str) -> int | None:
        """The number of rows of a file, or None if it takes reading the file to count them."""
        return self.num_rows(file)

    def is_empty(self, file: str) -> bool:
        """Whether a file is known to have no rows, without reading it."""
        return self.known_rows(file) == 0

    def blocks(self, file: str) -> list[int]:
        """How many rows each block of a file has, in order; reading can begin at any block."""
        return [self.num_rows(file)]

    def has_rows(self) -> bool:
        """Whether any file has a row. Only the beginning of a file is read, if that."""
        for file in self.files:
            count = self.known_rows(file)
            if count or (count is None and any(b.num_rows for b in self.read(file, (), 0))):
                return True
        return False

    def row_number(self, file: str, row: int) -> int:
        """The place in the file of the row with this number, both counted from 0."""
        return row

    @abstractmethod
    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        """The rows of a file after the first ``skip``, a bounded number at a time.

        Raises:
            DataError: the file cannot be read, or lacks a column.
        """

    def expand(self, names: Sequence[str]) -> list[str]:
        """Names of columns; with ``ALL_COLUMNS`` among them all columns of the first file, too."""
        if ALL_COLUMNS not in names:
            return list(names)
        others = [name for name in names if name != ALL_COLUMNS]
        return list(dict.fromkeys([*self.columns(self.files[0]), *others]))

    def check_columns(
        self, file: str, needed: Sequence[str], readers: Mapping[str, str] = NO_READERS
    ) -> None:
        """Raise DataError if a file lacks some of the columns, or has several of one name.

        ``readers``: by column, the part of the config that asks for it.
        """
        columns = self.columns(file)
        counts, faults, is_hinted = Counter(columns), list[str](), True
        for name in needed:
            if counts[name] > 1:
                words = f"has {counts[name]} columns named {name!r}; rename all but one"
                faults.append(f"{file}: {words}")
            elif not counts[name]:
                is_sought = hints_pay(len(faults), len(columns))
                hint = nearest(name, columns) if is_sought else ""
                is_hinted &= bool(hint)
                reader = f" ({readers[name]})" if name in readers else ""
                faults.append(f"{file}: no column {name!r}{reader}{hint}")
        if not is_hinted:
            faults.append(f"{file}: its columns are {few(columns)}")
        if faults:
            raise DataError("\n".join(faults))

    def check_unchanged(self, file: str) -> None:
        """Raise DataError if a file has changed since the first call, whose columns and number of
        rows are remembered. If the file is gone, whatever opens it says so."""
        with suppress(OSError):
            status = os.stat(file)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._stamps.setdefault(file, stamp) != stamp:
                raise DataError(f"{file}: was changed or replaced while in use")


def nearest(name: str, columns: Sequence[str]) -> str:
    """What to do about a column that is not there; "" if none of the columns is like it."""
    for column in columns:
        if column != name and column.strip() == name.strip():
            return f"; it has {column!r}: remove the blanks from its header, or name it with them"
    return did_you_mean(name, columns)


def unreadable(file: str, error: Exception) -> DataError:
    """The DataError for an error of Arrow or the system while reading a file."""
    if not Path(file).exists():
        return DataError(f"{file}: no longer exists")
    first = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(f"{file}: cannot be read: {first[0]}")
