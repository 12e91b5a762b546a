"""Blocks of rows that are read once and then handed out in stretches, in any order.

The rows of a Parquet row group, or of a compressed file, can only be decoded from its beginning. So
a block that stretches are wanted from is decoded as a whole, and its rows are held in a spool.
"""

import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import pyarrow as pa

from tzmmoe.data.plan.span import Span
from tzmmoe.data.reading.base import Source
from tzmmoe.data.spool import Spool, SpoolError
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
        self._blocks: dict[tuple[str, int], Spool] = {}
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

    def _block(self, file: str, number: int, least: int) -> Spool:
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
            block = self._blocks[key] = Spool(begin, self._piece_rows, room)
            try:
                block.fill(Span(file, begin, end).read(self._source, self._columns))
            except SpoolError as error:
                raise DataError(
                    f"{tempfile.gettempdir()}: cannot hold decoded rows for shuffling ({error}); "
                    "set TMPDIR to a folder with more space, write files with smaller row groups, "
                    "or set data_config.shuffle: false"
                ) from error
        return self._blocks[key]

    def sweep(self) -> None:
        for key in self._blocks.keys() - self._used:
            self._blocks.pop(key).close()
        self._used.clear()

    def close(self) -> None:
        while self._blocks:
            self._blocks.popitem()[1].close()
