"""Interleaving: a chunk of rows comes from many places of an epoch at once.

The rows of all spans, one after another, are cut into lanes of equally many rows. A chunk takes a
stretch of each lane, and the next chunk goes on where it ended, so that all lanes end together.
Whatever order the files are in, by label or by time, each chunk is then a sample of all of them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tzmmoe.data.plan.span import Span

LANES = 32  # with files sorted by a label, a chunk's share of it is off by 1/64 or so


@dataclass(frozen=True)
class Lanes:
    """``count`` lanes over spans that have ends, read in chunks of ``chunk_rows`` rows."""

    spans: Sequence[Span]
    count: int
    chunk_rows: int

    def __post_init__(self) -> None:
        sizes = [span.end - span.begin for span in self.spans]
        object.__setattr__(self, "_ends", list(accumulate(sizes)))

    @property
    def num_rows(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def num_chunks(self) -> int:
        return -(-self.num_rows // self.chunk_rows)

    def stretches(self, chunk: int) -> list[Span]:
        """The rows of a chunk."""
        low, high = self._consumed(chunk), self._consumed(chunk + 1)
        return [
            span
            for begin, first, last in zip(self._begins(), low, high, strict=True)
            for span in self._between(begin + first, begin + last)
        ]

    def first(self, count: int) -> tuple[Span, ...]:
        """The first ``count`` rows in the order of reading, lane by lane."""
        taken = self._dealt(min(count, self.num_rows))
        return tuple(
            span
            for begin, rows in zip(self._begins(), taken, strict=True)
            for span in self._between(begin, begin + rows)
        )

    def rest(self, chunk: int) -> tuple[Span, ...]:
        """The rows that chunk and all later ones read, lane by lane."""
        low, sizes = self._consumed(chunk), self._dealt(self.num_rows)
        return tuple(
            span
            for begin, first, size in zip(self._begins(), low, sizes, strict=True)
            for span in self._between(begin + first, begin + size)
        )

    def rotated(self, random: np.random.Generator) -> tuple[Span, ...]:
        """The same lanes, each of which begins at a random row of its own and wraps around.

        Otherwise the same rows would meet in a chunk in every epoch.
        """
        spans: list[Span] = []
        for begin, size in zip(self._begins(), self._dealt(self.num_rows), strict=True):
            start = begin + (int(random.integers(size)) if size else 0)
            spans += self._between(start, begin + size)
            spans += self._between(begin, start)
        return tuple(spans)

    def _begins(self) -> list[int]:
        return list(accumulate(self._dealt(self.num_rows), initial=0))[:-1]

    def _consumed(self, chunk: int) -> list[int]:
        """How many rows of each lane come before a chunk."""
        return self._dealt(min(chunk * self.chunk_rows, self.num_rows))

    def _dealt(self, rows: int) -> list[int]:
        """How many rows each lane gives if they are taken one by one, from each lane in turn."""
        each, more = divmod(rows, self.count)
        return [each + (lane < more) for lane in range(self.count)]

    def _between(self, begin: int, end: int) -> Iterator[Span]:
        """Rows ``begin`` to ``end``, counted through all spans."""
        number = bisect_right(self._ends, begin)
        while begin < end:
            span, stop = self.spans[number], min(end, self._ends[number])
            offset = span.end - self._ends[number]
            yield Span(span.file, begin + offset, stop + offset)
            begin, number = stop, number + 1
