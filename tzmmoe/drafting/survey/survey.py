"""One pass over the first rows of the files: a profile of each column, and a sample of the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.drafting.survey.profile import ColumnProfile, Counts
from tzmmoe.errors import DataError
from tzmmoe.features.column import decoded

ROWS = 1_000_000  # looked at; enough for ranges and frequent values, and a matter of seconds
SAMPLED = 1 << 16  # rows
SEED = 1024  # the same files give the same draft


@dataclass(frozen=True)
class Survey:
    """What was found. ``complete``: no row was left unseen."""

    profiles: dict[str, ColumnProfile]
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


class Sample:
    """Keeps the ``SAMPLED`` rows with the smallest of random numbers that all rows draw."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)
        self._keys = np.zeros(0)
        self._limit = 1.0
        self._tables: list[pa.Table] = []

    def add(self, columns: Mapping[str, pa.Array], num_rows: int) -> None:
        """Take in rows. A column that is not there every time has nulls in between."""
        keys = self._random.random(num_rows)
        kept = keys < self._limit
        place = pa.array(np.flatnonzero(kept))
        self._tables.append(pa.table({n: decoded(c).take(place) for n, c in columns.items()}))
        self._keys = np.concatenate([self._keys, keys[kept]])
        if len(self._keys) > 2 * SAMPLED:
            self._prune()

    def rows(self) -> dict[str, pa.Array]:
        """The sampled rows, in the order of the files, by column."""
        if not self._tables:
            return {}
        self._prune()
        table = self._tables[0]
        return {name: table[name].combine_chunks() for name in table.column_names}

    def _prune(self) -> None:
        try:
            table = pa.concat_tables(self._tables, promote_options="permissive")
        except (pa.ArrowException, TypeError) as error:
            raise DataError(f"the files store a column differently: {error}") from error
        if len(self._keys) > SAMPLED:
            kept = np.sort(np.argpartition(self._keys, SAMPLED)[:SAMPLED])
            table, self._keys = table.take(pa.array(kept)), self._keys[kept]
            self._limit = float(self._keys.max())
        self._tables = [table]


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
