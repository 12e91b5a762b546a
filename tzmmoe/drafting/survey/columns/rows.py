"""The rows that a draft is made from: what each column holds, and samples of them."""

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.data.reading.base import Source
from tzmmoe.drafting.survey.columns.buckets import boundaries
from tzmmoe.drafting.survey.columns.power import Power, compare
from tzmmoe.drafting.survey.columns.profile import ColumnProfile, Counts, Distinct, hashes
from tzmmoe.errors import DataError
from tzmmoe.features.column import decoded
from tzmmoe.features.forms import is_text

MOST_FILES = 64  # that are looked at
ROWS = 1_000_000  # looked at; enough for ranges and frequent values, and a matter of seconds
SAMPLED = 1 << 16  # rows
SEED = 1024  # the same files give the same draft


@dataclass(frozen=True)
class Survey:
    """What was found. ``complete``: no row was left unseen."""

    profiles: dict[str, ColumnProfile]
    powers: dict[str, Power]  # of columns of whole numbers, one in each row
    values: dict[str, Distinct]
    num_rows: int
    complete: bool

    @property
    def seen(self) -> str:
        """Which rows were looked at, in words."""
        return f"{'all ' if self.complete else ''}{self.num_rows:,} rows"


def survey(
    source: Source,
    columns: Sequence[str],
    labels: Sequence[str],
    *,
    typed: Collection[str],
    rows: int = ROWS,
) -> Survey:
    """Look at some columns of about ``rows`` rows, the first ones of each file, with bounded
    memory. ``typed``: the columns in which text is told from numbers.

    Raises:
        DataError: a file that cannot be read or lacks a column, or no rows at all.
    """
    counts = {name: Counts(name, typed=name in typed) for name in columns}
    looked = Looked(counts, labels)
    shares = file_shares(source.files, rows)
    complete = len(shares) == len(source.files)
    for file, share in shares.items():
        row = 0
        for batch in source.read(file, columns, 0):
            whole = batch.num_rows
            batch = batch.slice(0, share - row)
            looked.add(batch, file, row)
            row += batch.num_rows
            if batch.num_rows < whole:
                complete = False
                break
    if not looked.num_rows:
        raise DataError(f"{source.files[0]}: holds no rows")
    return looked.survey(complete=complete)


def file_shares(files: Sequence[str], rows: int) -> dict[str, int]:
    """How many of ``rows`` rows each file gives, by its bytes; of very many files only some are
    asked, the first and the last among them. So files of all days are seen."""
    if len(files) == 1:  # which may be a frame, without bytes
        return {files[0]: rows}
    places = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_FILES)).astype(int))
    sizes = {files[place]: max(os.path.getsize(files[place]), 1) for place in places}
    total = sum(sizes.values())
    return {file: math.ceil(rows * size / total) for file, size in sizes.items()}


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


class ValueSample:
    """Rows of one column of whole numbers with the labels beside them: all rows of some of the
    values, about ``SAMPLED`` of them, so that rare values are seen as often as they occur.

    The values kept are those with the smallest hashes.
    """

    def __init__(self) -> None:
        self._limit = 2.0**64
        self._parts: list[np.ndarray] = []  # hash, number, labels: (N, 2 + labels)
        self._num_rows = 0

    def add(self, numbers: np.ndarray, labels: np.ndarray) -> None:
        """Take in numbers (N,) and labels (N, L), NaN where missing."""
        keys = hashes(pa.array(numbers)).astype(np.float64)
        kept = (keys < self._limit) & np.isfinite(numbers)
        self._parts.append(np.column_stack([keys[kept], numbers[kept], labels[kept]]))
        self._num_rows += int(kept.sum())
        if self._num_rows > 2 * SAMPLED:
            self._prune()

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers and the labels."""
        rows = np.concatenate(self._parts)
        return rows[:, 1], rows[:, 2:]

    def _prune(self) -> None:
        rows = np.concatenate(self._parts)
        _, codes, counts = np.unique(rows[:, 0], return_inverse=True, return_counts=True)
        # A value that fills half of the sample tells no more than a part of its rows would.
        often = np.flatnonzero(counts > SAMPLED // 2)
        rows = rows[~np.isin(codes, often) | (np.arange(len(rows)) % 8 == 0)]
        if len(rows) > SAMPLED:
            self._limit = float(np.partition(rows[:, 0], SAMPLED)[SAMPLED])
            rows = rows[rows[:, 0] < self._limit]
        self._parts, self._num_rows = [rows], len(rows)


class Looked:
    """What has been seen of the columns so far."""

    def __init__(self, counts: dict[str, Counts], labels: Sequence[str]) -> None:
        self.num_rows = 0
        self._counts = counts
        self._labels = list(labels)
        self._sample = Sample()
        self._values = {name: ValueSample() for name in counts if name not in labels}

    def add(self, batch: pa.RecordBatch, file: str, row: int) -> None:
        """Take in the rows of a file from ``row`` on."""
        self.num_rows += batch.num_rows
        numbers = {n: each.add(batch.column(n), file, row) for n, each in self._counts.items()}
        for name in self._labels:
            if numbers[name] is None:
                numbers[name] = flags_of(batch.column(name))
        flat = {n: batch.column(n) for n, each in self._counts.items() if each.flat}
        if flat:
            self._sample.add(flat, batch.num_rows)
        beside = np.column_stack([numbers[name] for name in self._labels])
        for name in list(self._values):
            if numbers[name] is None or not self._counts[name].whole:
                del self._values[name]
            else:
                self._values[name].add(numbers[name], beside)

    def survey(self, *, complete: bool) -> Survey:
        rows = self._sample.rows()
        profiles = {
            name: each.profile(self.num_rows, rows[name] if each.flat else None)
            for name, each in self._counts.items()
        }
        values = {name: each.rows() for name, each in self._values.items()}
        powers = {
            name: compare(
                numbers,
                boundaries(profiles[name].numbers, whole=True),
                dict(zip(self._labels, labels.T, strict=True)),
                profiles[name].num_values,
            )
            for name, (numbers, labels) in values.items()
            if profiles[name].num_values
        }
        distinct = {name: each.distinct for name, each in self._counts.items()}
        return Survey(profiles, powers, distinct, self.num_rows, complete)


def flags_of(column: pa.Array) -> np.ndarray:
    """1 for texts that say true, 0 for false, NaN for all else (N,)."""
    flags = np.full(len(column), np.nan)
    column = decoded(column)
    if is_text(column.type) and column.type not in (pa.binary(), pa.large_binary()):
        texts = pc.utf8_lower(column.cast(pa.large_string()))
        for value, word in enumerate(("false", "true")):
            flags[pc.equal(texts, word).fill_null(False).to_numpy(zero_copy_only=False)] = value
    return flags
