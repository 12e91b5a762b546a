"""Blocks of rows that are read once and then handed out in stretches, in any order.

The rows of a Parquet row group, or of a compressed file, can only be decoded from its beginning. So
a block that stretches are wanted from is decoded as a whole. Its rows are kept in memory while they
are few, and beyond that in a temporary file without a name, which the system removes even if the
process is killed.
"""

import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import BinaryIO

import pyarrow as pa

from tzmmoe.data.plan.span import Span
from tzmmoe.data.reading.base import Source
from tzmmoe.errors import DataError

MEMORY_BYTES = 32 << 20  # of decoded rows, before more of them go to a file
LEAST_ROWS = 64  # of a piece in a file: smaller ones would be mostly headers


class Shelf:
    """The blocks of a source's files from which rows are being read.

    ``spans``: all rows that may be asked for. ``piece_rows``: how many of them at a time, more or
    less. A block that has not been used between two calls of ``sweep`` is dropped.
    """

    def __init__(
        self,
        source: Source,
        columns: Sequence[str],
        spans: Iterable[Span],
        piece_rows: int,
    ) -> None:
        self._source = source
        self._columns = columns
        self._spans: dict[str, list[Span]] = defaultdict(list)
        for span in spans:
            self._spans[span.file].append(span)
        self._piece_rows = max(piece_rows, LEAST_ROWS)
        self._ends: dict[str, list[int]] = {}
        self._blocks: dict[tuple[str, int], Block] = {}
        self._used: set[tuple[str, int]] = set()

    def read(self, file: str, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """Rows ``begin`` to ``end`` of a file."""
        self._source.check_unchanged(file)
        if file not in self._ends:
            self._ends[file] = list(accumulate(self._source.blocks(file)))
        ends = self._ends[file]
        while begin < end:
            # Rows beyond the file's end belong to its last block: loading it then says so.
            number = min(bisect_right(ends, begin), max(len(ends) - 1, 0))
            stop = end if number >= len(ends) - 1 else min(end, ends[number])
            yield from self._block(file, number, stop).read(begin, stop)
            begin = stop

    def _block(self, file: str, number: int, least: int) -> "Block":
        """A block, with its rows up to ``least`` at least."""
        key = (file, number)
        self._used.add(key)
        if key not in self._blocks:
            ends = self._ends[file]
            first, last = ([0, *ends])[number], max([*ends[number : number + 1], least])
            spans = [s for s in self._spans[file] if s.begin < last and s.end > first]
            begin = max(first, min(span.begin for span in spans))
            end = min(last, max(span.end for span in spans))
            room = MEMORY_BYTES - sum(block.memory_bytes for block in self._blocks.values())
            block = self._blocks[key] = Block(begin, self._piece_rows, room)
            block.fill(Span(file, begin, end).read(self._source, self._columns))
        return self._blocks[key]

    def sweep(self) -> None:
        for key in self._blocks.keys() - self._used:
            self._blocks.pop(key).close()
        self._used.clear()

    def close(self) -> None:
        while self._blocks:
            self._blocks.popitem()[1].close()


class Block:
    """The rows of a file from ``begin`` on, in pieces; ``room`` bytes of them in memory."""

    def __init__(self, begin: int, piece_rows: int, room: int) -> None:
        self._begin = begin
        self._piece_rows = piece_rows
        self._room = room
        self.memory_bytes = 0
        self._begins: list[int] = []
        self._pieces: list[pa.RecordBatch | tuple[int, int]] = []  # or its place in the file
        self._file: BinaryIO | None = None

    def fill(self, batches: Iterable[pa.RecordBatch]) -> None:
        begin = self._begin
        for batch in batches:
            if not batch.num_rows:
                continue
            if self.memory_bytes + batch.nbytes <= self._room:
                self.memory_bytes += batch.nbytes
                self._add(begin, batch)
            else:
                for first in range(0, batch.num_rows, self._piece_rows):
                    piece = compact(batch.slice(first, self._piece_rows))
                    self._add(begin + first, self._written(piece))
            begin += batch.num_rows

    def _add(self, begin: int, piece: pa.RecordBatch | tuple[int, int]) -> None:
        self._begins.append(begin)
        self._pieces.append(piece)

    def read(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """Rows ``begin`` to ``end``, all of which the block has."""
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
            raise DataError(
                f"{tempfile.gettempdir()}: cannot hold decoded rows for shuffling "
                f"({error.strerror}); set TMPDIR to a folder with more space, write files with "
                "smaller row groups, or set data_config.shuffle: false"
            ) from error
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
