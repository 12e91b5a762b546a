"""One pass over the first rows of the files."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.drafting.survey.counts import Counts
from tzmmoe.drafting.survey.profile import Profile
from tzmmoe.drafting.survey.sample import Sample
from tzmmoe.errors import DataError

ROWS = 1_000_000  # looked at; enough for ranges and frequent values, and a matter of seconds


@dataclass(frozen=True)
class Survey:
    """What was found. ``complete``: no row was left unseen."""

    profiles: dict[str, Profile]
    num_rows: int
    complete: bool

    @property
    def seen(self) -> str:
        """Which rows were looked at, in words."""
        which = "all" if self.complete else "the first"
        return f"{which} {self.num_rows:,} rows"


def survey(source: Source, columns: Sequence[str], rows: int = ROWS) -> Survey:
    """Look at some columns of the first ``rows`` rows, with bounded memory.

    Raises:
        DataError: a file that cannot be read or lacks a column, or no rows at all.
    """
    counts = {name: Counts(name, typed=not isinstance(source, CsvSource)) for name in columns}
    sample = Sample()
    seen = 0
    for file in source.files:
        for batch in source.read(file, columns, 0):
            whole = batch.num_rows
            batch = batch.slice(0, rows - seen)
            _add(batch, counts, sample)
            seen += batch.num_rows
            if batch.num_rows < whole:
                return _survey(counts, sample, seen, complete=False)
    if not seen:
        raise DataError(f"{source.files[0]}: holds no rows")
    return _survey(counts, sample, seen, complete=True)


def _add(batch: pa.RecordBatch, counts: dict[str, Counts], sample: Sample) -> None:
    for name, each in counts.items():
        each.add(batch.column(name))
    flat = {name: batch.column(name) for name, each in counts.items() if each.flat}
    if flat:
        sample.add(flat, batch.num_rows)


def _survey(counts: dict[str, Counts], sample: Sample, seen: int, *, complete: bool) -> Survey:
    rows = sample.rows()
    profiles = {
        name: each.profile(seen, rows[name] if each.flat else None) for name, each in counts.items()
    }
    return Survey(profiles, seen, complete)
