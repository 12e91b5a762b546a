"""A column -> the feature that it becomes, and why. The one place that names kinds of features."""

import math
from dataclasses import dataclass

import numpy as np

from tzmmoe.drafting.survey.profile import ColumnProfile
from tzmmoe.drafting.survey.semantics import (
    Separated,
    about,
    is_dense,
    is_identifier,
    reason,
    separated,
)
from tzmmoe.protos.feature_pb2 import FeatureConfig, IdFeature, RawFeature

BUCKETS = 32
LEAST = 20  # sampled rows of a bucket; an embedding learned from fewer is noise
HASH_ROWS = 1000  # at least: rows that are not used cost next to nothing
ROOMY = 100_000  # distinct values up to which a table has ten rows for each, beyond it two
NARROW, WIDE, WIDE_FROM = 8, 16, 10_000  # embedding_dim, and the distinct values that need WIDE
FIRST_VALUES = 50  # of longer lists
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
    """A column, its feature, and what the config says about it."""

    column: str
    config: FeatureConfig
    why: str

    @property
    def name(self) -> str:
        return getattr(self.config, self.config.WhichOneof("feature")).feature_name


@dataclass(frozen=True)
class ExcludedColumn:
    """A column that becomes no feature."""

    column: str
    why: str


def draft(column: ColumnProfile, name: str) -> DraftedFeature | ExcludedColumn:
    """The feature called ``name`` of a column."""
    cells = column.kind == "text" and not column.listed and column.num_values
    parts = separated(column.words) if cells else None
    why = None if parts else reason(column)
    if why:
        return ExcludedColumn(column.name, why)
    if column.kind == "number" and column.listed and column.shortest == column.longest:
        feature, why = _vector(column)
    elif cuts := _cuts(column):
        feature, why = _number(column, cuts)
    else:
        feature, why = _category(column, parts)
    feature.feature_name = name
    if name != column.name:
        feature.expression = f"context:{column.name}"
    if column.num_missing:
        why += f"; {share(column.num_missing / column.num_rows)} missing"
    if isinstance(feature, IdFeature):
        return DraftedFeature(column.name, FeatureConfig(id_feature=feature), why)
    return DraftedFeature(column.name, FeatureConfig(raw_feature=feature), why)


def boundaries(numbers: np.ndarray, whole: bool) -> list[float]:
    """Ascending cuts for about ``BUCKETS`` buckets of equally many rows; NaN are left out.

    A value that fills a bucket alone, such as the 0 of most amounts, gets it to itself, so that
    the rest is still cut finely. Few values get one bucket each.
    """
    values, counts = np.unique(numbers[np.isfinite(numbers)], return_counts=True)
    if len(values) <= BUCKETS:
        return values[1:].tolist()
    heavy = counts >= counts.sum() / BUCKETS
    light = np.where(heavy, 0, counts)
    buckets = max(1, min(BUCKETS - int(heavy.sum()), int(light.sum()) // LEAST))
    part = (light.cumsum() - light) * buckets // max(int(light.sum()), 1)
    starts = np.flatnonzero((np.diff(part) > 0) | heavy[1:] | heavy[:-1]) + 1
    cuts = values[starts]
    if whole:
        return cuts.tolist()
    exact = heavy[starts] | heavy[starts - 1]
    return sorted({*cuts[exact].tolist(), *_rounded(cuts[~exact])})


def _rounded(cuts: np.ndarray) -> list[float]:
    """To about a hundredth of the distance to the nearest other cut."""
    if len(cuts) < 2:
        return cuts.tolist()
    steps = np.diff(cuts / 2)  # halves: two cuts may lie farther apart than a float64 can tell
    steps = np.minimum(np.append(steps, steps[-1]), np.append(steps[0], steps))
    digits = 2 - np.floor(np.log10(steps) + np.log10(2)).astype(int)
    return [round(cut, digit) for cut, digit in zip(cuts.tolist(), digits.tolist(), strict=True)]


def share(part: float) -> str:
    """``3.2%``; small ones do not become 0."""
    return f"{part:.1%}" if part >= 0.001 or part == 0 else f"{100 * part:.2g}%"


def shown(text: str) -> str:
    """A name or a word of the data on one line."""
    return text if text.isprintable() else repr(text)


def _cuts(column: ColumnProfile) -> list[float]:
    """Boundaries for a column of quantities; none for categories."""
    whole = column.kind == "whole"
    if column.listed or column.kind not in ("whole", "number"):
        return []
    if whole and (is_dense(column) or is_identifier(column)):
        return []
    return boundaries(column.numbers, whole)


def _category(column: ColumnProfile, parts: Separated | None) -> tuple[IdFeature, str]:
    distinct = parts.num_distinct if parts else column.num_distinct
    feature = IdFeature()
    if column.kind == "flag" and not column.listed:
        feature.num_buckets = 2
        why = f"true or false, {share(column.mean)} true"
    elif column.kind == "whole" and not column.listed and is_dense(column):
        feature.num_buckets = int(column.high) + 1
        why = f"whole numbers 0 to {column.high:.0f}; others would share the row of 0"
    else:
        feature.hash_bucket_size = hash_rows(distinct)
        why = _described(column, parts)
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


def _described(column: ColumnProfile, parts: Separated | None) -> str:
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
    if column.kind == "whole" and is_identifier(column):
        return f"whole numbers, {count}; probably ids, whose size means nothing"
    return f"{column.type}, {count}"


def _examples(column: ColumnProfile) -> str:
    most = [word if len(word) <= SHOWN else f"{word[:SHOWN]}..." for word in column.words]
    more = ", ..." if len(most) > EXAMPLES else ""
    return ": " + ", ".join(f"{word!r}" for word in most[:EXAMPLES]) + more


def _number(column: ColumnProfile, cuts: list[float]) -> tuple[RawFeature, str]:
    """Buckets that hold about equally many rows, each with an embedding."""
    feature = RawFeature(boundaries=cuts, embedding_dim=NARROW)
    what = "whole numbers" if column.kind == "whole" else "numbers"
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
