"""What the user asks for, and what the data files show."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource, other_delimiter
from tzmmoe.data.reading.files import Reading
from tzmmoe.drafting.survey import feature, task
from tzmmoe.drafting.survey.feature import DraftedFeature, ExcludedColumn
from tzmmoe.drafting.survey.profile import ColumnProfile, Counts
from tzmmoe.drafting.survey.reading import CsvFlags, looks_like_data
from tzmmoe.drafting.survey.task import LabelTask
from tzmmoe.errors import ConfigError, DataError, Faults, did_you_mean
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


SUSPECT = 0.99  # AUC of a single column
LEAST = 10  # rows of each class for an AUC
CODES = 256  # quantiles of numbers


def leaks(
    columns: Iterable[ColumnProfile], labels: Iterable[ColumnProfile]
) -> dict[str, dict[str, float]]:
    """{column: {label: AUC}} above ``SUSPECT``. Labels are 0 or 1; lists are not tried."""
    found: dict[str, dict[str, float]] = {}
    truths = {label.name: label.numbers for label in labels}
    for column in columns:
        if column.listed or not column.kind:
            continue
        codes = codes_of(column)
        for label, truth in truths.items():
            auc = auc_of(codes, truth)
            if auc > SUSPECT:
                found.setdefault(column.name, {})[label] = auc
    return found


def sortedness(label: ColumnProfile) -> float:
    """AUC of a row's place in the files: near 1 when the files are sorted by the label."""
    rows = len(label.numbers)
    return auc_of(np.arange(rows) * CODES // max(rows, 1), label.numbers)


def codes_of(column: ColumnProfile) -> np.ndarray:
    """A small whole number for each sampled row: its value's, or its quantile's; 0 for missing."""
    if column.kind == "number" or (column.kind == "whole" and column.num_distinct > CODES):
        numbers = column.numbers
        finite = numbers[np.isfinite(numbers)]
        places = np.linspace(0, max(len(finite) - 1, 0), CODES).astype(np.int64)
        cuts = np.unique(np.sort(finite)[places]) if len(finite) else finite
        return np.where(np.isnan(numbers), 0, np.searchsorted(cuts, numbers, side="right") + 1)
    codes = pc.dictionary_encode(column.sample).indices
    return codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1


def auc_of(codes: np.ndarray, truth: np.ndarray) -> float:
    """AUC of a code's share of ones: the shares come from one half of the rows, the area from the
    other, so that a rare code cannot know its own label. Equal shares count half.

    0.5 when a class has fewer than ``LEAST`` rows in a half.
    """
    known = ~np.isnan(truth)
    codes, truth = codes[known], truth[known] > 0.5
    size = int(codes.max(initial=0)) + 1
    half = np.random.default_rng(SEED).random(len(codes)) < 0.5
    ones, zeros, positives, negatives = (
        np.bincount(codes[part & side], minlength=size)
        for part in (half, ~half)
        for side in (truth, ~truth)
    )
    if min(each.sum() for each in (ones, zeros, positives, negatives)) < LEAST:
        return 0.5
    share = (ones + ones.sum() / (ones.sum() + zeros.sum())) / (ones + zeros + 1)
    _, tie = np.unique(share, return_inverse=True)
    positives, negatives = np.bincount(tie, positives), np.bincount(tie, negatives)
    below = negatives.cumsum() - negatives
    return float((positives * (below + negatives / 2)).sum() / (positives.sum() * negatives.sum()))


MOST_WEIGHT = float(np.finfo(np.float32).max)
SORTED = 0.9  # files are sorted by a label if the AUC of a row's place exceeds it


@dataclass(frozen=True)
class DraftRequest:
    """The command line; "" for a flag that is not set."""

    files: str
    labels: Sequence[str]
    weight: str
    ignore: Sequence[str]
    eval_files: str
    model_dir: str
    csv: CsvFlags


@dataclass(frozen=True)
class Findings:
    """All that the config is drafted from. ``leaks``: {column: {label: AUC}}."""

    request: DraftRequest
    survey: Survey
    source: Source
    reading: Reading
    num_rows: int  # a lower bound if CSV files were not read to their end
    tasks: Sequence[LabelTask]
    features: Sequence[DraftedFeature]
    left_out: Sequence[ExcludedColumn]
    leaks: Mapping[str, Mapping[str, float]]
    sorted_by: Sequence[str]  # labels

    @property
    def typed(self) -> bool:
        return not isinstance(self.source, CsvSource)


def find(request: DraftRequest) -> Findings:
    """Survey the files.

    Raises:
        DataError, ConfigError: what the user can repair; all faults of the flags at once.
    """
    source, reading = request.csv.open(request.files, "--data")
    _check_names(request, source, reading)
    evaluation = None
    if request.eval_files:
        evaluation, _ = request.csv.open(request.eval_files, "--eval_data")
    columns = [n for n in source.columns(source.files[0]) if n not in request.ignore]
    found = survey(source, columns)
    faults = Faults()
    typed = not isinstance(source, CsvSource)
    profiles = dict(found.profiles)
    labels = [task.draft(profiles.pop(name), typed=typed, faults=faults) for name in request.labels]
    if request.weight:
        _check_weight(profiles.pop(request.weight), faults)
    faults.stop()
    tasks = [each for each in labels if each]
    names = unique_names(list(profiles))
    drafts = [feature.draft(column, names[column.name]) for column in profiles.values()]
    features = [each for each in drafts if isinstance(each, DraftedFeature)]
    left_out = [each for each in drafts if isinstance(each, ExcludedColumn)]
    if not features:
        reasons = "".join(f"\n  {each.column}: {each.why}" for each in left_out)
        raise DataError(f"{source.files[0]}: no column can be a feature:{reasons}")
    if evaluation:
        weights = [request.weight] if request.weight else []
        needed = [*request.labels, *weights, *(each.column for each in features)]
        evaluation.check_columns(evaluation.files[0], needed)
    truths = [each.column for each in tasks if each.binary and not each.flag]
    rows = [source.known_rows(file) for file in source.files]
    return Findings(
        request=request,
        survey=found,
        source=source,
        reading=reading,
        num_rows=found.num_rows if None in rows else sum(rows),
        tasks=tasks,
        features=features,
        left_out=left_out,
        leaks=leaks((profiles[each.column] for each in features), truths),
        sorted_by=[label.name for label in truths if sortedness(label) > SORTED],
    )


def _check_names(request: DraftRequest, source: Source, reading: Reading) -> None:
    """Raise ConfigError for names that are not columns, or that have two uses."""
    faults = Faults()
    columns = source.columns(source.files[0])
    mark = other_delimiter(columns) if isinstance(source, CsvSource) else None
    if mark and not set(request.labels) <= set(columns):
        text = f"is {reading.delimiter!r}, which makes {source.files[0]} one column"
        raise ConfigError.at("--delimiter", f"{text}; give {mark!r}, or leave it out")
    given = {"--labels": request.labels, "--ignore": request.ignore}
    given |= {"--weights": [request.weight]} if request.weight else {}
    uses: dict[str, str] = {}
    for flag, names in given.items():
        for name in names:
            if name not in columns:
                guess = did_you_mean(name, columns)
                faults.add(flag, f"{source.files[0]} has no column {name!r}{guess}")
            if name in uses:
                faults.add(flag, f"{name!r} is already in {uses[name]}; remove one")
            uses[name] = flag
    if not request.labels:
        faults.add("--labels", "names no column; name one to predict")
    headed = isinstance(source, CsvSource) and reading.with_header
    if faults and headed and looks_like_data(columns):
        faults.add("--data", "its first line seems to hold data, not names; pass --no_header")
    faults.stop()


def _check_weight(column: ColumnProfile, faults: Faults) -> None:
    if not column.kind or column.listed or column.low is None:
        faults.add("--weights", f"{column.name!r} is a column of {column.type}; give numbers")
    elif column.num_missing:
        faults.add(
            "--weights", f"{column.name!r} is missing in {column.num_missing:,} rows; fill it in"
        )
    elif column.low < 0 or column.high > MOST_WEIGHT or not column.finite:
        words = f"must be 0 or more and at most {MOST_WEIGHT:.3g} in every row"
        faults.add("--weights", f"{column.name!r} {words}")


def unique_names(columns: Sequence[str]) -> dict[str, str]:
    """{column: name}, of letters, digits, _ and - only, as features and towers need."""
    names: dict[str, str] = {}
    for column in columns:
        plain = re.sub(r"[^\w\-]+", "_", column) or "column"
        name, number = plain, 2
        while name in names.values() or (name != column and name in columns):
            name, number = f"{plain}_{number}", number + 1
        names[column] = name
    return names
