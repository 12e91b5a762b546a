"""What a source of data is, and where its rows come from."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tzmmoe.errors import DataError, did_you_mean, few

ALL_COLUMNS = "ALL_COLUMNS"


@dataclass(frozen=True)
class FileRows:
    """``num_rows`` rows of a file, from its row ``first_row`` on, counted from 0."""

    path: str
    first_row: int
    num_rows: int


@dataclass(frozen=True)
class Chunk:
    """Rows that are encoded together, and the files that they come from, in order.

    ``begin`` is where it begins and ``then`` where the next one does: a span's number in the pass,
    and the row in it. A span that is read to its end is left behind. ``taken`` are the rows that
    ``rows`` holds, if not all of them in their order.
    """

    index: int  # within the pass
    rows: pa.RecordBatch
    file_rows: tuple[FileRows, ...]
    begin: tuple[int, int] = (0, 0)
    then: tuple[int, int] = (0, 0)
    taken: np.ndarray | None = None

    def take(self, taken: np.ndarray) -> "Chunk":
        """Some of its rows."""
        return replace(self, rows=self.rows.take(pa.array(taken)), taken=taken)

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """A number in [0, 1) for each row, which does not depend on what else is taken."""
        drawn = random.random(sum(part.num_rows for part in self.file_rows))
        return drawn if self.taken is None else drawn[self.taken]

    def place(self, row: int) -> str:
        """``file, row 17`` of a row of ``rows``; rows of a file count from 1."""
        row = row if self.taken is None else int(self.taken[row])
        for part in self.file_rows:
            if row < part.num_rows:
                return f"{part.path}, row {part.first_row + row + 1:,}"
            row -= part.num_rows
        return self.file_rows[-1].path if self.file_rows else "(no file)"


class Source(ABC):
    """Files of one kind."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = tuple(files)
        self._stamps: dict[str, tuple[int, int, int]] = {}

    @abstractmethod
    def columns(self, file: str) -> list[str]:
        """Names of a file's columns."""

    @abstractmethod
    def num_rows(self, file: str) -> int:
        """Rows of a file; for CSV this reads the file."""

    def known_rows(self, file: str) -> int | None:
        """Rows of a file, None where telling them takes reading it."""
        return self.num_rows(file)

    def has_rows(self) -> bool:
        """Whether any of the files has a row; of files that do not tell, the begin is read."""
        for file in self.files:
            known = self.known_rows(file)
            if known or (known is None and any(b.num_rows for b in self.read(file, (), 0))):
                return True
        return False

    @abstractmethod
    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        """The file's rows after the first ``skip``, a bounded number at a time.

        Raises:
            DataError: the file cannot be read, or lacks a column.
        """

    def expand(self, names: Sequence[str]) -> list[str]:
        """Names of columns, where ``ALL_COLUMNS`` stands for all of the first file."""
        return self.columns(self.files[0]) if list(names) == [ALL_COLUMNS] else list(names)

    def check_columns(self, file: str, wanted: Sequence[str]) -> None:
        """Raise DataError when a file lacks some of the columns, or has one of them twice."""
        there = self.columns(file)
        faults = [
            f"{file}: no column {name!r}{did_you_mean(name, there)}"
            if name not in there
            else f"{file}: {there.count(name)} columns {name!r}; names must differ"
            for name in wanted
            if there.count(name) != 1
        ]
        if any(name not in there and not did_you_mean(name, there) for name in wanted):
            faults.append(f"{file}: its columns are {few(there)}")
        if faults:
            raise DataError("\n".join(faults))

    def check_unchanged(self, file: str) -> None:
        """Raise DataError when a file is not the one that the first such call saw, whose columns
        and rows are taken for known. One that is away is left to what opens it."""
        with suppress(OSError):
            found = os.stat(file)
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._stamps.setdefault(file, stamp) != stamp:
                raise DataError(f"{file}: was changed or replaced while it was in use")


def unreadable(file: str, error: Exception) -> DataError:
    """The DataError for what Arrow or the system says of a file."""
    if not Path(file).exists():
        return DataError(f"{file}: is not there any more")
    first = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(f"{file}: cannot be read: {first[0]}")
