"""The files that a run has read, so that a later one notices what became of them."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, BinaryIO

from tzmmoe.batch import Position
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.data.reading.stream import is_compressed
from tzmmoe.system.localpath import absolute

EDGE_BYTES = 1 << 16  # of each end of a file that its digests cover
PARQUET = b"PAR1"


@dataclass(frozen=True)
class FileRecord:
    """A file as it was. ``head`` and ``tail`` are digests of its first and last 64 KiB, the tail
    with all of a Parquet file's metadata; empty if it had changed before they could be taken.
    ``is_read``: rows of it were consumed. ``num_rows``: of a frame in memory, which has no size,
    time or tail, and whose head is the digest of its content."""

    size: int
    modified_ns: int
    head: str = ""
    tail: str = ""
    is_read: bool = False
    num_rows: int | None = None

    @classmethod
    def stat(cls, file: str) -> "FileRecord":
        """Size and time only. Raises OSError."""
        status = os.stat(file)
        return cls(status.st_size, status.st_mtime_ns)

    def digested(self, file: str) -> "FileRecord":
        """With its digests, if the file is still as it was."""
        with suppress(OSError), open(file, "rb") as content:
            status = os.fstat(content.fileno())
            if (status.st_size, status.st_mtime_ns) == (self.size, self.modified_ns):
                head, tail = _ends(content, self.size)
                return replace(self, head=head, tail=tail)
        return self

    def __str__(self) -> str:
        if self.num_rows is not None:
            return f"{self.num_rows:,} rows with digest {self.head[:8]}"
        time = datetime.fromtimestamp(self.modified_ns / 1e9, UTC)
        return f"{self.size:,} bytes of {time:%Y-%m-%d %H:%M:%S} UTC"


Stat = Callable[[str], FileRecord]  # of a file, or a frame, as it is now. Raises OSError


class Fate(Enum):
    """What became of a file."""

    SAME = "the same"
    GROWN = "the same, and more"
    OTHER = "another"


def fate(file: str, before: FileRecord, stat: Stat = FileRecord.stat) -> tuple[Fate, FileRecord]:
    """What became of a file, and its record now. Raises OSError.

    A file of the same size whose ends are the same is the same, whatever its time of modification.
    A frame is the same if its digest is.
    """
    now = replace(stat(file), is_read=before.is_read)
    if now.num_rows is not None:
        is_same = (now.num_rows, now.head) == (before.num_rows, before.head)
        return (Fate.SAME if is_same else Fate.OTHER), now
    if (now.size, now.modified_ns) == (before.size, before.modified_ns):
        return Fate.SAME, before if before.head else now.digested(file)
    now = now.digested(file)
    if not before.head or now.size < before.size:
        return Fate.OTHER, now
    if now.size == before.size:
        same = (now.head, now.tail) == (before.head, before.tail)
        return (Fate.SAME if same else Fate.OTHER), now
    return (Fate.GROWN if _begins_with(file, before) else Fate.OTHER), now


def _ends(content: BinaryIO, size: int) -> tuple[str, str]:
    """Digests of the first and the last bytes of the first ``size`` bytes."""
    content.seek(0)
    head = content.read(min(EDGE_BYTES, size))
    length = min(EDGE_BYTES, size)
    content.seek(size - length)
    tail = content.read(length)
    if head[:4] == tail[-4:] == PARQUET:  # its metadata, their length, and the mark
        length = min(int.from_bytes(tail[-8:-4], "little") + 8, size)
        if length > len(tail):
            content.seek(size - length)
            tail = content.read(length)
    return _digest(head), _digest(tail)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _begins_with(file: str, before: FileRecord) -> bool:
    """Whether a file begins with what it was before, as far as the ends tell, and its last line was
    not continued."""
    with open(file, "rb") as content:
        if _ends(content, before.size) != (before.head, before.tail):
            return False
        if not before.size or is_compressed(file):
            return True
        content.seek(before.size - 1)
        last, first = content.read(1), content.read(1)
        return last == b"\n" or first in (b"\n", b"\r")


class FileRecords:
    """The records of a run's files, by absolute path.

    A run notes how its files are when it starts; reading one that changes afterwards is an error of
    its own. Digests are taken once a file, when a checkpoint first needs them.
    """

    def __init__(
        self,
        files: Sequence[str],
        saved: Mapping[str, FileRecord] | None = None,
        stat: Stat = FileRecord.stat,
    ) -> None:
        """``saved``: those that a checkpoint has, where they still hold."""
        self._records = dict(saved or {})
        for file in map(absolute, files):
            if file not in self._records:
                with suppress(OSError):  # whoever reads it says so
                    self._records[file] = stat(file)

    def until(self, files: Iterable[str], read: Container[str]) -> dict[str, FileRecord]:
        """Of these files, and those that are ``read`` by now as such."""
        for file in map(absolute, files):
            record = self._records.get(file)
            if record and not record.head:
                record = record.digested(file)
            if record:
                is_read = record.is_read or file in read
                self._records[file] = replace(record, is_read=is_read)
        return dict(self._records)


class FilesByPosition:
    """The files of which rows are consumed up to a position, whatever was encoded ahead of it."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._chunks: deque[tuple[Position, Sequence[FileRows], int, bool]] = deque()

    def begin(self, place: Position, chunk: Chunk, used: int, *, shuffled: bool) -> None:
        """Note a chunk whose first row to be consumed is that at ``place``. ``used``: rows of it
        were consumed before, which positions do not count."""
        self._chunks.append((place, chunk.file_rows, used, shuffled))

    def until(self, position: Position) -> set[str]:
        """Absolute paths. Of a shuffled chunk that is half consumed, all files count."""
        while self._chunks and self._chunks[0][0].reached < position.reached:
            place, parts, used, shuffled = self._chunks[0]
            is_here = place.reached[:3] == position.reached[:3]
            rows = sum(part.num_rows for part in parts)
            rows = used + position.done if is_here and not shuffled else rows
            for part in parts:
                if rows > 0:
                    self._read.add(absolute(part.path))
                rows -= part.num_rows
            if is_here:
                break
            self._chunks.popleft()
        return self._read


def to_json(records: Mapping[str, FileRecord]) -> dict[str, Any]:
    return {file: list(asdict(record).values()) for file, record in records.items()}


def from_json(saved: Mapping[str, Any]) -> dict[str, FileRecord]:
    """Raises TypeError or AttributeError for another structure; values are not checked."""
    return {file: FileRecord(*values) for file, values in saved.items()}
