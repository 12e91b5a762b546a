"""What rows that are evaluated hold that the rows of training do not: ids never seen, times and
numbers outside their range."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.data.reading.base import Source
from tzmmoe.drafting.survey.cells.interpretation import Interpretation
from tzmmoe.drafting.survey.columns.profile import (
    SEPARATOR,
    ColumnProfile,
    Distinct,
    hashes,
    numbers_of,
)
from tzmmoe.drafting.survey.columns.rows import ROWS, file_shares
from tzmmoe.drafting.survey.feature import DraftedFeature, ExcludedColumn, share
from tzmmoe.features.column import decoded, distinct, read
from tzmmoe.features.forms import is_text

WORTH_SAYING = 0.01  # share of the evaluated values


class Unseen:
    """Counts values of categories that training never saw."""

    said = "of the evaluated values were never seen in training: nothing is learned of them"

    def __init__(self, column: ColumnProfile, seen: Distinct) -> None:
        self.column = column
        self.seen = seen
        self.strange = self.known = 0

    def add(self, column: pa.Array) -> None:
        values = read(column, SEPARATOR, weighted=pa.types.is_map(column.type)).values
        flat, codes = distinct(values)
        if is_text(flat.type) != is_text(_value_type(self.column.type)):
            return  # other hashes
        fresh = hashes(flat)
        strange, known = self.seen.unseen(fresh if codes is None else fresh[codes])
        self.strange += strange
        self.known += known


class Outside:
    """Counts numbers below or above all that training saw; dates are numbers of seconds."""

    said = "of the evaluated rows lie outside the range of training"

    def __init__(self, column: ColumnProfile) -> None:
        self.column = column
        self.strange = self.known = 0

    def add(self, column: pa.Array) -> None:
        flat = decoded(read(column, SEPARATOR, weighted=False).values)
        try:
            flat = pa.array(numbers_of(flat))
        except pa.ArrowInvalid:
            return  # training says where, by file and row
        outside = pc.or_(pc.less(flat, self.column.low), pc.greater(flat, self.column.high))
        self.strange += pc.sum(outside).as_py() or 0
        self.known += len(flat)


def strangeness(
    evaluation: Source,
    found: Interpretation,
    features: Sequence[DraftedFeature],
    left_out: Sequence[ExcludedColumn],
) -> dict[str, str]:
    """{column: the share of its evaluated values that are strange, in words}."""
    survey, understood = found.survey, found.source(evaluation)
    columns = set(evaluation.columns(evaluation.files[0]))
    left = [each for each in left_out if each.column in columns & survey.profiles.keys()]
    counters = list(_counters(found, features, left))
    _count(understood, counters)
    some = "" if survey.complete else f" ({survey.seen} of training were looked at)"
    shares = {each: each.strange / max(each.known, 1) for each in counters}
    said = {
        each.column.name: f"{share(part)} {each.said}{some}"
        for each, part in shares.items()
        if part >= WORTH_SAYING
    }
    for name, (place, text) in understood.faults.items():
        said[name] = f"{place} is {text!r}, a different format from the training data; fix it"
    return said


def _counters(
    found: Interpretation,
    features: Sequence[DraftedFeature],
    left_out: Sequence[ExcludedColumn],
) -> Iterator[Unseen | Outside]:
    profiles = found.survey.profiles
    for each in features:
        column = profiles[each.column]
        if each.config.HasField("id_feature"):
            if each.config.id_feature.separator not in ("", SEPARATOR):
                continue  # the survey has the cells, not the values in them
            yield Unseen(column, found.survey.values[each.column])
        elif not (column.listed or each.part_of):
            yield Outside(column)
    for name, form in found.forms.items():
        if form.dates and profiles[name].low is not None:
            yield Outside(profiles[name])
    for each in left_out:
        column = profiles[each.column]
        flat = column.kind and column.num_values and not column.listed and not column.constant
        if flat and column.low is not None and each.column not in found.forms:
            yield Outside(column)


def _count(evaluation: Source, counters: Sequence[Unseen | Outside]) -> None:
    """In about ``ROWS`` rows of all files."""
    names = [each.column.name for each in counters]
    for file, left in file_shares(evaluation.files, ROWS).items():
        for batch in evaluation.read(file, names, 0):
            rows = batch.slice(0, left)
            for each in counters if rows.num_rows else ():
                each.add(rows.column(each.column.name))
            left -= rows.num_rows
            if not left:
                break


def _value_type(kind: pa.DataType) -> pa.DataType:
    """Of the values in a column of this type."""
    while pa.types.is_map(kind) or hasattr(kind, "value_type"):
        kind = kind.key_type if pa.types.is_map(kind) else kind.value_type
    return kind
