"""Spans: rows of a file that follow one another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from tzmmoe.data.reading.base import Source
from tzmmoe.errors import DataError


@dataclass(frozen=True)
class Span:
    """Rows ``begin`` to ``end`` (exclusive) of a file; None: to the end of the file."""

    file: str
    begin: int = 0
    end: int | None = None

    def read(
        self, source: Source, columns: Sequence[str], skip: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """The rows after the first ``skip``. Raises DataError if the file has fewer."""
        if self.end is None:
            yield from source.read(self.file, columns, self.begin + skip)
            return
        missing = self.end - self.begin - skip
        if not missing:
            return
        for batch in source.read(self.file, columns, self.begin + skip):
            taken = batch.slice(0, missing)
            missing -= taken.num_rows
            yield taken
            if not missing:
                return
        raise DataError(
            f"{self.file}: has {self.end - missing:,} rows, but had at least {self.end:,} when the "
            "epoch was planned; the file has changed, so restore it"
        )


def rows_of(spans: Sequence[Span]) -> int:
    """The number of rows in spans, all of which have an end."""
    return sum(span.end - span.begin for span in spans)


def first_rows(spans: Sequence[Span], count: int) -> Iterator[Span]:
    """The spans cut off after their first ``count`` rows."""
    for span in spans:
        taken = min(count, span.end - span.begin)
        if taken:
            yield replace(span, end=span.begin + taken)
        count -= taken
