"""Rows that are held in memory while they are few, and beyond that in a temporary file."""

import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa


class SpoolError(OSError):
    """The temporary file could not be written; the message says why."""


class Spool:
    """The rows from ``begin`` on, in pieces; ``room`` bytes of them in memory.

    The others are in pieces of at most ``piece_rows``, in a file without a name, which the system
    removes even if the process is killed.
    """

    def __init__(self, begin: int, piece_rows: int, room: int) -> None:
        self.end = begin  # of the rows so far
        self._piece_rows = piece_rows
        self._room = room
        self.memory_bytes = 0
        self._begins: list[int] = []
        self._pieces: list[pa.RecordBatch | tuple[int, int]] = []  # or its place in the file
        self._file: BinaryIO | None = None

    def fill(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Add rows at the end. Raises SpoolError."""
        for batch in batches:
            if not batch.num_rows:
                continue
            if self.memory_bytes + batch.nbytes <= self._room:
                self.memory_bytes += batch.nbytes
                self._add(self.end, batch)
            else:
                for first in range(0, batch.num_rows, self._piece_rows):
                    piece = compact(batch.slice(first, self._piece_rows))
                    self._add(self.end + first, self._written(piece))
            self.end += batch.num_rows

    def _add(self, begin: int, piece: pa.RecordBatch | tuple[int, int]) -> None:
        self._begins.append(begin)
        self._pieces.append(piece)

    def read(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """Rows ``begin`` to ``end``, all of which it must have."""
        number = bisect_right(self._begins, begin) - 1
        while begin < end:
            piece = self._pieces[number]
            rows = self._reread(*piece) if isinstance(piece, tuple) else piece
            rows = rows.slice(begin - self._begins[number], end - begin)
            yield compact(rows)
            begin, number = begin + rows.num_rows, number + 1

    def _written(self, piece: pa.RecordBatch) -> tuple[int, int]:
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(sink, piece.schema, options=options) as writer:
            writer.write_batch(piece)
        buffer = sink.getvalue()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="tzmmoe-")  # noqa: SIM115
            place = self._file.tell()
            self._file.write(buffer)
        except OSError as error:
            raise SpoolError(error.strerror) from error
        return place, buffer.size

    def _reread(self, place: int, size: int) -> pa.RecordBatch:
        end = self._file.tell()
        self._file.seek(place)
        content = self._file.read(size)
        self._file.seek(end)
        with pa.ipc.open_stream(content) as reader:
            return reader.read_next_batch()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows; a dictionary with more values than the batch has rows keeps the used ones."""
    columns = list(batch.columns)
    for number, column in enumerate(columns):
        kind = column.type
        if not pa.types.is_dictionary(kind) or len(column.dictionary) <= batch.num_rows:
            continue
        used = column.dictionary_decode().dictionary_encode()
        columns[number] = used.cast(kind)
    if not columns:
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)
