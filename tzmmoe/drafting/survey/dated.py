"""A column of dates -> a feature for each of its parts that differ, such as the weekday."""

import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import numpy as np

from tzmmoe.drafting.survey.cells.converted import Conversion
from tzmmoe.drafting.survey.cells.dates import DateForm
from tzmmoe.drafting.survey.cells.form import CellForm
from tzmmoe.drafting.survey.columns.buckets import boundaries
from tzmmoe.drafting.survey.columns.profile import ColumnProfile
from tzmmoe.drafting.survey.feature import (
    NARROW,
    DraftedFeature,
    ExcludedColumn,
    set_fields,
    share,
)
from tzmmoe.protos.feature_pb2 import FeatureConfig, IdFeature, RawFeature

ROWS = {"MONTH": 13, "WEEKDAY": 7, "HOUR": 24}  # of tables, a value being the number of its row
MEANINGS = {
    "YEAR": "year",
    "MONTH": "month, 1 to 12",
    "WEEKDAY": "day of the week, 0 is Monday",
    "HOUR": "hour, 0 to 23",
}
DAY = 86_400


def drafts(
    form: CellForm, profiles: Mapping[str, ColumnProfile], names: Mapping[str, str]
) -> Iterator[DraftedFeature | ExcludedColumn]:
    """``names``: those of features by column. The first feature carries the doubts."""
    whole, *parts = form.conversions
    values = profiles[whole.name]
    what = f"{_written(form.dates)}, {_span(values, form.dates)}"
    if missing := whole.missing:
        what += f"; {', '.join(map(repr, missing))} for missing"
    if values.num_missing:
        what += f"; {share(values.num_missing / values.num_rows)} missing"
    differing = [each for each in parts if profiles[each.name].num_distinct > 1]
    if not differing:
        reason = "no hour, weekday, month or year differs" if values.num_values else "all missing"
        yield ExcludedColumn(form.column, f"{what}; {reason}")
    doubt, of = _doubt(form), f"; of {what}"
    for each in differing:
        config = _feature(each, profiles[each.name], names[each.name])
        meaning = MEANINGS[each.fields["date_part"]]
        yield DraftedFeature(each.name, config, f"{meaning}{of}", doubt, form.column)
        doubt, of = "", f", of {form.column!r}"


def _feature(change: Conversion, values: ColumnProfile, name: str) -> FeatureConfig:
    part = change.fields["date_part"]
    if part in ROWS:
        feature = IdFeature(num_buckets=ROWS[part], embedding_dim=NARROW)
    else:
        cuts = boundaries(values.numbers, whole=True)  # later years count as the last one
        feature = RawFeature(boundaries=cuts, embedding_dim=NARROW)
        if values.num_missing:
            feature.default_value = ""  # no bucket
    feature.feature_name = name
    feature.expression = f"context:{change.column}"
    set_fields(feature, change.settings)
    if isinstance(feature, IdFeature):
        return FeatureConfig(id_feature=feature)
    return FeatureConfig(raw_feature=feature)


def _written(form: DateForm) -> str:
    what = "times of day" if form.of_a_day else "dates"
    zone = f" in {form.zone}" if form.zone else ""
    return f"{what}{zone} as {form.form!r}" if form.form else f"{what}{zone}"


def _span(values: ColumnProfile, form: DateForm) -> str:
    """The first and the last one."""
    if values.low is None:
        return "none"
    if form.of_a_day:
        return f"hours {values.low:.0f} to {values.high:.0f}"
    with_time = bool((np.nan_to_num(values.numbers) % DAY).any())
    shown = "%Y-%m-%d %H:%M" if with_time else "%Y-%m-%d"
    first, last = (datetime.fromtimestamp(t, UTC) for t in (values.low, values.high))
    return f"{first.strftime(shown)} to {last.strftime(shown)}"


def _doubt(form: CellForm) -> str:
    """What is open about a column of dates, and how to settle it."""
    name, dates = shlex.quote(form.column), form.dates
    doubts = []
    if dates.whole and dates.zone:
        doubts.append(
            f"whole numbers taken as times ({dates.form}); --ids {name} if they name things, "
            f"--numbers {name} if they measure something"
        )
    if dates.other:
        doubts.append(
            f"dates taken as {dates.form!r}, but they also fit {dates.other!r}; change "
            "date_format if the second is right"
        )
    if dates.offsets:
        doubts.append(
            f"times with the offsets {', '.join(dates.offsets)}, taken in UTC; --time_zone "
            "Europe/Berlin, say, for the hours of a place"
        )
    elif dates.zone == "UTC":
        doubts.append(
            "hours are those of UTC; --time_zone Europe/Berlin, say, for those of a place"
        )
    return "; ".join(doubts)
