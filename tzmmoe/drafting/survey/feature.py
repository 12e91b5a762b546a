"""A column -> the feature that it becomes, and why. The one place that names kinds of features."""

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tzmmoe.drafting.survey.cells.form import CellForm
from tzmmoe.drafting.survey.cells.written import written
from tzmmoe.drafting.survey.columns.buckets import BUCKETS, boundaries
from tzmmoe.drafting.survey.columns.power import Power
from tzmmoe.drafting.survey.columns.profile import ColumnProfile
from tzmmoe.drafting.survey.semantics import (
    Separated,
    about,
    is_dense,
    is_identifier,
    is_named_id,
    reason,
    separated,
    split_at_will,
    with_mark,
)
from tzmmoe.protos.feature_pb2 import (
    DatePart,
    FeatureConfig,
    IdFeature,
    ListFormat,
    NumberFormat,
    RawFeature,
)

ROLES = ("ids", "numbers", "lists", "text")
HASH_ROWS = 1000  # at least: rows that are not used cost next to nothing
ROOMY = 100_000  # distinct values up to which a table has ten rows for each, beyond it two
NARROW, WIDE, WIDE_FROM = 8, 16, 10_000  # embedding_dim, and the distinct values that need WIDE
FIRST_VALUES = 50  # of longer lists
UNNAMED = re.compile(r"Unnamed: \d+(\.\d+)*|__index_level_\d+__")  # as pandas calls an index
EXAMPLES, SHOWN = 3, 20  # examples, and characters of each
NOTES = f"""\
id_feature: categories. hash_bucket_size: rows of its table; the hash of a value selects its row. \
Ten rows for each distinct value (two, where there are very many), at least {HASH_ROWS:,}, so that \
few values share one. num_buckets: the value itself is the row.
raw_feature: numbers. boundaries cut them into buckets with about equally many rows, each with an \
embedding: any curve can be learned, and extreme values do no harm.
embedding_dim: numbers that represent a value; 8, or 16 where there are many values.
A missing value adds nothing: its embedding is 0."""


@dataclass(frozen=True)
class DraftedFeature:
    """A column, its feature, and what the config says about it. ``doubt``: what a person should
    decide, and how; "" when the data leave no doubt. ``part_of``: the column of dates that
    ``column`` is a part of."""

    column: str
    config: FeatureConfig
    why: str
    doubt: str = ""
    part_of: str = ""

    @property
    def origin(self) -> str:
        """The column of the files that it reads."""
        return self.part_of or self.column

    @property
    def name(self) -> str:
        return getattr(self.config, self.config.WhichOneof("feature")).feature_name


@dataclass(frozen=True)
class ExcludedColumn:
    """A column that becomes no feature."""

    column: str
    why: str
    doubt: str = ""

    @property
    def origin(self) -> str:
        return self.column


@dataclass(frozen=True)
class Taken:
    """What is known of a column beyond its profile. ``role``: what the user says that it is, one of
    ``ROLES``, or "". ``form``: how its cells are written. ``odd``: place and text of a cell that
    contradicts how the others are. ``groups``: rows are held out by its values."""

    role: str
    power: Power
    form: CellForm | None = None
    odd: tuple[str, str] | None = None
    groups: bool = False

    @property
    def marked(self) -> bool:
        """Whether numbers have marks or units."""
        return bool(self.form and self.form.numbers and not self.form.numbers.is_plain)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of a feature that say how its cells are written."""
        settings = self.form.conversions[0].settings if self.form else {}
        return {k: v for k, v in settings.items() if k != "number_format" or self.marked}

    @property
    def described(self) -> str:
        """How cells are written, in words."""
        if not self.form:
            return ""
        missing = self.form.conversions[0].missing
        parts = [
            "printed as lists" if self.form.conversions[0].listed else "",
            f"written with {self.form.numbers.described}" if self.marked else "",
            f"{', '.join(map(repr, missing))} for missing" if missing else "",
        ]
        return "".join(f"; {part}" for part in parts if part)

    def names_things(self, column: ColumnProfile) -> bool:
        """Whether its whole numbers are ids."""
        if self.role:
            return self.role in ("ids", "text")
        return is_identifier(column) or self.power.names_things or self.groups


def draft(column: ColumnProfile, name: str, taken: Taken) -> DraftedFeature | ExcludedColumn:
    """The feature called ``name`` of a column."""
    parts = _parts(column, taken.role)
    why = None if parts else reason(column, chosen=bool(taken.role))
    if why:
        keep = column.num_values and column.kind and not column.constant and not column.listed
        doubt = f"{why}; --ids {shlex.quote(column.name)} if its values come again" if keep else ""
        return ExcludedColumn(column.name, why, doubt)
    if column.kind == "number" and column.listed and column.shortest == column.longest:
        feature, why = _vector(column)
    elif cuts := _cuts(column, taken):
        feature, why = _number(column, cuts)
    else:
        feature, why = _category(column, parts, taken)
    feature.feature_name = name
    if name != column.name:
        feature.expression = f"context:{column.name}"
    set_fields(feature, taken.settings)
    why += taken.described
    if column.num_missing:
        why += f"; {share(column.num_missing / column.num_rows)} missing"
    doubt = "" if taken.role or taken.groups else _doubt(column, feature, parts, taken)
    if isinstance(feature, IdFeature):
        return DraftedFeature(column.name, FeatureConfig(id_feature=feature), why, doubt)
    return DraftedFeature(column.name, FeatureConfig(raw_feature=feature), why, doubt)


def _parts(column: ColumnProfile, role: str) -> Separated | None:
    """How texts are split into several values."""
    cells = column.kind == "text" and not column.listed and column.num_values
    if role == "lists" and cells:
        return split_at_will(column.words)
    if not cells or role or written(column.words):
        return None  # a comma may be in numbers
    return separated(column.words)


def _doubt(
    column: ColumnProfile,
    feature: IdFeature | RawFeature,
    parts: Separated | None,
    taken: Taken,
) -> str:
    """What the data leave open, and the flag that settles it."""
    name, power = shlex.quote(column.name), taken.power
    if UNNAMED.fullmatch(column.name):
        return f"a column without a name; --ignore {name} if it only counts rows"
    if odd := _odd(column, taken):
        return odd
    if taken.marked and (text := taken.form.numbers.doubtful):
        value = text.replace(taken.form.numbers.thousands, "")
        return f"{text!r} is taken for {value}; write decimals with a point if it is one"
    whole = f"whole numbers, {about(column)} distinct"
    if isinstance(feature, RawFeature):
        open_to_doubt = column.whole and not column.listed and column.num_distinct > BUCKETS
        if open_to_doubt and not power.measures:
            return f"{whole}, taken as a quantity; --ids {name} if they name things"
        return ""
    if column.whole and power.measures and is_named_id(column) and not is_dense(column):
        return (
            f"{whole}, taken as ids for its name, but its size tells {power.label}; "
            f"--numbers {name} if it measures something"
        )
    if column.kind == "text" and not column.listed and not taken.form:
        if parts and parts.doubtful:
            return (
                f"texts taken as lists, split at {parts.mark!r}; --text {name} if each is one value"
            )
        if not parts and (text := with_mark(column.words)):
            one = f"texts such as {text!r}, taken as one value each"
            return f"{one}; --lists {name} if they are several"
    if column.kind == "text" and not column.listed and column.low is not None:
        codes = "" if is_named_id(column) else f"--numbers {name} if they measure something"
        return codes and f"texts that are all numbers, taken as categories; {codes}"
    return ""


def _odd(column: ColumnProfile, taken: Taken) -> str:
    """That nearly all texts are numbers, and how to use them as such."""
    place, text = taken.odd or column.odd or ("", "")
    cells = column.kind == "text" and not column.listed
    found = written(column.words) if cells else None
    if not (place or found):
        return ""
    if column.odd and not (found and not found.odd):
        alike = f"{column.num_readable:,} of {column.num_values:,} are numbers"
    else:
        alike = f"texts such as {column.words[0]!r} are written alike"
    flag = f"--numbers {shlex.quote(column.name)}"
    if found and not found.odd:
        return (
            f"{alike}; some begin with 0, as codes do. Taken as text; {flag} reads them as numbers"
        )
    odd = f"{place} is {text!r}" if place else f"{found.odd[0]!r} is not"
    remedy = "fix that cell to have the column read as numbers or dates"
    if found or column.odd:
        remedy = f"{flag} takes such texts for missing values"
    return f"{alike}; {odd}. Taken as text; {remedy}"


def set_fields(feature: IdFeature | RawFeature, settings: Mapping[str, Any]) -> None:
    """Set the fields that say how cells are written."""
    for name, value in settings.items():
        if name == "list_format":
            feature.list_format = ListFormat.Value(value)
        elif name == "date_part":
            feature.date_part = DatePart.Value(value)
        elif name == "number_format":
            marks = {"decimal": ".", "thousands": ""}
            given = {k: v for k, v in value.items() if v and v != marks.get(k)}
            feature.number_format.CopyFrom(NumberFormat(**given))
        elif name == "na_values":
            feature.na_values.extend(value)
        else:
            setattr(feature, name, value)


def share(part: float) -> str:
    """``3.2%``; small ones do not become 0."""
    return f"{part:.1%}" if part >= 0.001 or part == 0 else f"{100 * part:.2g}%"


def shown(text: str) -> str:
    """A name or a word of the data on one line."""
    return text if text.isprintable() else repr(text)


def _cuts(column: ColumnProfile, taken: Taken) -> list[float]:
    """Boundaries for a column of quantities; none for categories."""
    if column.listed or taken.role in ("ids", "text", "lists"):
        return []
    if taken.role != "numbers" and not taken.marked:
        if column.kind not in ("whole", "number"):
            return []
        if column.kind == "whole" and is_dense(column):
            return []
        if column.whole and taken.names_things(column):
            return []
    return boundaries(column.numbers, column.whole)


def _category(
    column: ColumnProfile, parts: Separated | None, taken: Taken
) -> tuple[IdFeature, str]:
    distinct = parts.num_distinct if parts else column.num_distinct
    feature = IdFeature()
    if column.kind == "flag" and not column.listed:
        feature.num_buckets = 2
        why = f"true or false, {share(column.mean)} true"
    elif column.kind == "whole" and not column.listed and is_dense(column):
        feature.num_buckets = int(column.high) + 1
        span = f"{column.low:.0f} to {column.high:.0f}"
        why = f"whole numbers {span}, each the number of its row; others would share row 0"
    else:
        feature.hash_bucket_size = hash_rows(distinct)
        why = _described(column, parts, taken)
    feature.embedding_dim = WIDE if distinct >= WIDE_FROM else NARROW
    longest = parts.longest if parts else column.longest
    if parts:
        feature.separator = parts.mark
    if column.kind == "weights":
        feature.weighted = True
    elif longest > 1:
        feature.pooling = "mean"  # a sum would grow with the number of values
    if longest > FIRST_VALUES:
        feature.value_dim = FIRST_VALUES
        why += f"; only the first {FIRST_VALUES} values are used"
    return feature, why


def hash_rows(distinct: int) -> int:
    """Rows of a table for so many values: 1, 2 or 5 times a power of ten.

    With ten rows for each value, one value in ten shares its row; with two, four in ten do, which
    is what memory allows for many.
    """
    least = max(HASH_ROWS, distinct * (10 if distinct <= ROOMY else 2))
    power = 10 ** int(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= least)


def _described(column: ColumnProfile, parts: Separated | None, taken: Taken) -> str:
    """What a column of categories holds."""
    if parts:
        return (
            f"texts of up to {parts.longest} values between {parts.mark!r}, {parts.num_distinct:,} "
            f"distinct ones{_examples(column)}"
        )
    count = f"{about(column)} distinct"
    if column.kind == "weights":
        return f"maps of up to {column.longest} values with weights, {count}"
    if column.listed:
        short = "" if column.shortest == column.longest else f"{column.shortest} to "
        return f"lists of {short}{column.longest} values, {count}"
    if column.kind == "text":
        return f"text, {count}{_examples(column)}"
    if column.whole:
        return f"whole numbers, {count}; {_why_ids(column, taken)}"
    return f"{column.type}, {count}"


def _why_ids(column: ColumnProfile, taken: Taken) -> str:
    if taken.role:
        return "ids, as --ids says"
    if taken.groups:
        return "ids, since --split_by holds out their rows together"
    if taken.power.names_things:
        power = taken.power
        return (
            f"ids: a value's own rows tell {power.own:.1%} of {power.label}'s variance, those of "
            f"its neighbours {max(power.near, 0.0):.1%}"
        )
    return "probably ids by the name" if is_named_id(column) else "ids, as large as hashes"


def _examples(column: ColumnProfile) -> str:
    most = [word if len(word) <= SHOWN else f"{word[:SHOWN]}..." for word in column.words]
    more = ", ..." if len(most) > EXAMPLES else ""
    return ": " + ", ".join(f"{word!r}" for word in most[:EXAMPLES]) + more


def _number(column: ColumnProfile, cuts: list[float]) -> tuple[RawFeature, str]:
    """Buckets that hold about equally many rows, each with an embedding."""
    feature = RawFeature(boundaries=cuts, embedding_dim=NARROW)
    what = "whole numbers" if column.whole else "numbers"
    why = f"{what} {column.low:,.6g} to {column.high:,.6g}, {about(column)} distinct"
    if not column.finite:
        feature.normalizer = f"method=expression,expr=clip(x, {column.low!r}, {column.high!r})"
        why += "; infinite ones count as the smallest or largest"
    if column.num_missing:
        feature.default_value = ""  # no bucket; "0" would be the bucket of 0
    return feature, why


def _vector(column: ColumnProfile) -> tuple[RawFeature, str]:
    """Numbers as they are, but of a size that suits a network."""
    feature = RawFeature(value_dim=column.longest)
    if column.deviation:
        moments = f"mean={column.mean:.6g},standard_deviation={column.deviation:.6g}"
        feature.normalizer = f"method=zscore,{moments}"
    why = f"lists of {column.longest} numbers, scaled to mean 0 and deviation 1"
    return feature, f"{why}; missing ones take the mean" if column.num_missing else why
