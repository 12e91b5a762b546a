"""What the user asks for, and what the data files show."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tzmmoe.data.frames.frame import Frame
from tzmmoe.data.reading.base import Source, nearest
from tzmmoe.data.reading.csv import CsvSource, other_delimiter
from tzmmoe.data.reading.files import Reading
from tzmmoe.data.reading.partitions import with_partitions
from tzmmoe.data.reading.split import EVALUATION, TRAINING, Split, SplitSource
from tzmmoe.drafting.survey import auxiliary, dated, feature, task
from tzmmoe.drafting.survey.cells.interpretation import Interpretation, interpreted
from tzmmoe.drafting.survey.columns.power import Power
from tzmmoe.drafting.survey.columns.profile import ColumnProfile
from tzmmoe.drafting.survey.columns.rows import Survey, survey
from tzmmoe.drafting.survey.feature import DraftedFeature, ExcludedColumn, Taken
from tzmmoe.drafting.survey.leaks import leaks, sortedness
from tzmmoe.drafting.survey.reading import CsvFlags, looks_like_data
from tzmmoe.drafting.survey.semantics import split_at_will
from tzmmoe.drafting.survey.strange import strangeness
from tzmmoe.drafting.survey.task import LabelTask
from tzmmoe.errors import ConfigError, DataError, Faults
from tzmmoe.features.written.dates import DatePart

MOST_WEIGHT = float(np.finfo(np.float32).max)
NAMELESS = "a column without a name, left out; name it in the file to use it"
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
    split: Split | None = None  # of the files, when there are no eval_files
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by one of feature.ROLES
    frames: Mapping[str, Frame] = field(default_factory=dict)  # by names in place of files
    time_zone: str = ""  # in which points in time are shown
    auxiliary: Sequence[str] = ()  # columns of tasks that only help the others

    @property
    def evaluates(self) -> bool:
        return bool(self.eval_files or self.split)

    @property
    def split_by(self) -> str | None:
        return self.split.by if self.split else None

    @property
    def targets(self) -> set[str]:
        """Labels and weights."""
        return {*self.learned, self.weight}

    @property
    def learned(self) -> list[str]:
        """The labels of all tasks."""
        return [*self.labels, *self.auxiliary]

    def role(self, column: str) -> str:
        return next((role for role, names in self.roles.items() if column in names), "")


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
    strange: Mapping[str, str]  # {column: what evaluation has of it that training has not}

    @property
    def typed(self) -> bool:
        return not isinstance(self.source, CsvSource)


def find(request: DraftRequest) -> Findings:
    """Survey the files.

    Raises:
        DataError, ConfigError: what the user can repair; all faults of the flags at once.
    """
    files, reading = request.csv.open(request.files, "--data", request.frames)
    source = with_partitions(files)
    _check_names(request, source, reading, is_csv=isinstance(files, CsvSource))
    training, evaluation = _parts(request, source)
    every = source.columns(source.files[0])
    columns = [name for name in every if name and name not in request.ignore]
    typed = [] if isinstance(files, CsvSource) else files.columns(source.files[0])
    plain = survey(training, columns, request.labels, typed=typed)
    roles = {name: request.role(name) for name in columns if name not in request.targets}
    found = interpreted(
        training, plain, request.labels, roles=roles, typed=typed, zone=request.time_zone
    )
    faults = Faults()
    tasks = _tasks(request, found.survey, typed, faults)
    tasks += _auxiliary(request, found.survey, typed, evaluation, faults)
    for name, role in roles.items():
        _check_role(found.survey.profiles[name], role, found.faults.get(name), faults)
    _check_zone(request, found, faults)
    faults.stop()
    features, left_out = _features(request, found, list(roles), source.files[0])
    if "" in every:
        left_out.append(ExcludedColumn("", NAMELESS, NAMELESS))
    if evaluation:
        weights = [request.weight] if request.weight else []
        needed = [*request.learned, *weights, *(each.origin for each in features)]
        evaluation.check_columns(evaluation.files[0], needed)
    truths = [t.column for t in tasks if t.binary and not (t.flag or t.auxiliary)]
    profiles = found.survey.profiles
    rows = [source.known_rows(file) for file in source.files]
    trained = 1 - request.split.fraction if request.split else 1
    return Findings(
        request=request,
        survey=found.survey,
        source=files,
        reading=reading,
        num_rows=plain.num_rows if None in rows else int(sum(rows) * trained),
        tasks=tasks,
        features=features,
        left_out=left_out,
        strange=_strange(evaluation, found, features, left_out, request.split_by),
        leaks=leaks((profiles[each.column] for each in features), truths),
        sorted_by=[label.name for label in truths if sortedness(label) > SORTED],
    )


def _strange(
    evaluation: Source | None,
    found: Interpretation,
    features: Sequence[DraftedFeature],
    left_out: Sequence[ExcludedColumn],
    split_by: str | None,
) -> Mapping[str, str]:
    """Without the column by which rows were split, whose values never are on both sides."""
    if evaluation is None:
        return {}
    others = [[each for each in some if each.origin != split_by] for some in (features, left_out)]
    return strangeness(evaluation, found, *others)


def _tasks(
    request: DraftRequest, found: Survey, typed: Collection[str], faults: Faults
) -> list[LabelTask]:
    """Of the labels; checks the weights, too."""
    profiles = found.profiles
    tasks = [task.draft(profiles[n], typed=n in typed, faults=faults) for n in request.labels]
    if request.weight:
        _check_weight(profiles[request.weight], faults)
    return [each for each in tasks if each]


def _auxiliary(
    request: DraftRequest,
    found: Survey,
    typed: Collection[str],
    evaluation: Source | None,
    faults: Faults,
) -> list[LabelTask]:
    """The auxiliary tasks. Their classes include those that only ``evaluation`` has."""
    names, evaluated = request.auxiliary, {}
    if names and evaluation:
        evaluation.check_columns(evaluation.files[0], names)
        typed_names = [name for name in names if name in typed]
        evaluated = survey(evaluation, names, names, typed=typed_names).profiles
    tasks = []
    for name in names:
        profile = found.profiles[name]
        if name in evaluated and None not in (profile.values, evaluated[name].values):
            profile = _with_values(profile, evaluated[name])
        tasks.append(auxiliary.draft(profile, typed=name in typed, faults=faults))
    return [each for each in tasks if each]


def _with_values(profile: ColumnProfile, other: ColumnProfile) -> ColumnProfile:
    """The profile with the values, and their range, of ``other`` too."""
    profile = replace(profile, values=profile.values | other.values)
    if None in (profile.low, other.low):
        return profile
    return replace(profile, low=min(profile.low, other.low), high=max(profile.high, other.high))


def _parts(request: DraftRequest, source: Source) -> tuple[Source, Source | None]:
    """What is trained on, and what is evaluated."""
    if request.split:
        parts = (TRAINING, EVALUATION)
        return tuple(SplitSource(source, request.split, part) for part in parts)
    if request.eval_files:
        files, flag = request.eval_files, "--eval_data"
        return source, request.csv.open(files, flag, request.frames)[0]
    return source, None


def _features(
    request: DraftRequest, found: Interpretation, columns: Sequence[str], file: str
) -> tuple[list[DraftedFeature], list[ExcludedColumn]]:
    """Raises DataError if there is not a single feature."""
    if not columns:
        words = "every column is a label, a weight or ignored; leave some in as features"
        raise DataError(f"{file}: {words}")
    profiles = found.survey.profiles
    names = unique_names([name for name in profiles if name not in request.targets])
    drafts: list[DraftedFeature | ExcludedColumn] = []
    for name in columns:
        form, power = found.forms.get(name), found.survey.powers.get(name, Power())
        if form and form.dates:
            drafts += dated.drafts(form, profiles, names)
        else:
            odd, groups = found.faults.get(name), name == request.split_by
            taken = Taken(request.role(name), power, form, odd, groups)
            drafts.append(feature.draft(profiles[name], names[name], taken))
    features = [each for each in drafts if isinstance(each, DraftedFeature)]
    left_out = [each for each in drafts if isinstance(each, ExcludedColumn)]
    if not features:
        reasons = "".join(f"\n  {each.column}: {each.why}" for each in left_out)
        raise DataError(f"{file}: no column can be a feature:{reasons}")
    return features, left_out


def _check_names(request: DraftRequest, source: Source, reading: Reading, *, is_csv: bool) -> None:
    """Raise ConfigError for names that are not columns, or that have two uses."""
    faults = Faults()
    if request.split and not 0 < request.split.fraction < 1:
        faults.add("--eval_fraction", "give more than 0 and less than 1, such as 0.2")
    if request.time_zone:
        try:
            DatePart("HOUR", None, request.time_zone)
        except ConfigError as error:
            faults.extend(replace(each, path="--time_zone") for each in error.faults)
    columns = source.columns(source.files[0])
    mark = other_delimiter(columns) if is_csv else None
    if mark and not set(request.labels) <= set(columns):
        text = f"is {reading.delimiter!r}, which makes {source.files[0]} one column"
        raise ConfigError.at("--delimiter", f"{text}; give {mark!r}, or leave it out")
    given = {"--labels": request.labels, "--ignore": request.ignore}
    given[auxiliary.FLAG] = request.auxiliary
    given |= {"--weights": [request.weight]} if request.weight else {}
    by = request.split_by
    if by and by not in columns:
        guess = nearest(by, columns)
        faults.add("--split_by", f"{source.files[0]} has no column {by!r}{guess}")
    given |= {f"--{role}": names for role, names in request.roles.items()}
    uses: dict[str, str] = {}
    for flag, names in given.items():
        for name in names:
            if name not in columns:
                guess = nearest(name, columns)
                faults.add(flag, f"{source.files[0]} has no column {name!r}{guess}")
            if name in uses:
                faults.add(flag, f"{name!r} is already in {uses[name]}; remove one")
            uses[name] = flag
    if not request.labels:
        faults.add("--labels", "names no column; name one to predict")
    headed = is_csv and reading.with_header
    if faults and headed and looks_like_data(columns):
        faults.add("--data", "its first line seems to hold data, not names; pass --no_header")
    faults.stop()


def _check_role(
    column: ColumnProfile, role: str, odd: tuple[str, str] | None, faults: Faults
) -> None:
    """Add a fault for a column that cannot be what the user says it is. ``odd``: place and text of
    a cell that contradicts it."""
    if role == "numbers" and not column.listed and column.low is None:
        words = ", ".join(repr(word) for word in column.words[:3]) if column.sample else ""
        odd = odd or column.odd
        found = "{} is {!r}".format(*odd) if odd else f"holds {words or column.type}"
        faults.add("--numbers", f"{column.name!r}: {found}; only numbers can be cut into buckets")
    if role == "lists" and column.kind == "text" and not column.listed:
        if split_at_will(column.words) is None:
            faults.add("--lists", f"{column.name!r} holds no '|', ';', ',' or blank to split at")
    elif role == "lists" and not column.listed:
        faults.add("--lists", f"{column.name!r} is a column of {column.type}, one value in a row")


def _check_zone(request: DraftRequest, found: Interpretation, faults: Faults) -> None:
    """Add a fault for a time zone that has no effect."""
    if request.time_zone and not any(
        form.dates and form.dates.zone for form in found.forms.values()
    ):
        words = "has no effect: no column holds points in time, only local times; leave it out"
        faults.add("--time_zone", words)


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
