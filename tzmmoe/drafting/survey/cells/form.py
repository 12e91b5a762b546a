"""How the cells of a column are written, where they do not simply hold their values: numbers with
marks, lists that a program printed, dates."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from tzmmoe.drafting.survey.cells.converted import MOST_WORDS, Conversion
from tzmmoe.drafting.survey.cells.dates import PARTS, DateForm, form_of
from tzmmoe.drafting.survey.cells.written import CODE, FIRST, MISSING, NEARLY, Written, written
from tzmmoe.drafting.survey.columns.power import Power
from tzmmoe.drafting.survey.columns.profile import ColumnProfile
from tzmmoe.drafting.survey.semantics import is_identifier
from tzmmoe.features.forms import BadValue
from tzmmoe.features.written.printed import lists

NO_DATES = MISSING | {"0000-00-00", "0000-00-00 00:00:00", "00.00.0000", "00/00/0000"}
HALF = 0.5  # of the texts are numbers, at least, where the user says that they are


@dataclass(frozen=True)
class CellForm:
    """How the cells of ``column`` are written, and the columns that they become. Of a date the
    first conversion is the seconds since 1970, of which no feature is made."""

    column: str
    conversions: tuple[Conversion, ...]
    numbers: Written | None = None
    dates: DateForm | None = None

    @property
    def fault(self) -> tuple[str, str] | None:
        """Place and text of the first cell that is written otherwise."""
        return next((each.fault for each in self.conversions if each.fault), None)


def form_of_cells(
    column: ColumnProfile, role: str, power: Power, names: Collection[str], zone: str
) -> CellForm | None:
    """How a column's cells are written; None where they hold their values. ``role``: what the user
    says that it is, or "". ``names``: of all columns, which no new one may have. ``zone``: in which
    points in time are shown; "" for the one that the data name, or UTC."""
    if pa.types.is_temporal(column.type):
        return None if role else _dates(column, [], names, zone)
    if column.listed or not column.num_values or role == "text":
        return None
    if column.kind == "whole" and not role:
        is_id = is_identifier(column) or power.names_things
        return None if is_id else _dates(column, [], names, zone)
    if column.kind != "text":
        return None
    words = column.words
    if _are_printed(words):
        fields = {"list_format": "PRINTED"}
        return CellForm(column.name, (Conversion(column.name, column.name, fields, MISSING),))
    if role in ("", "ids", "numbers") and (form := _numbers(column, role)):
        return form
    known = [word for word in words if word.strip() not in NO_DATES]
    return None if role else _dates(column, known, names, zone)


def _numbers(column: ColumnProfile, role: str) -> CellForm | None:
    """Numbers with marks, or beside words for a missing value."""
    found = written(column.words, HALF if role == "numbers" else NEARLY)
    if not found or (role == "ids" and not found.is_plain):
        return None
    if found.odd and (role != "numbers" or len(found.odd) + len(found.missing) > MOST_WORDS):
        return None
    if found.is_plain and role != "numbers" and any(map(CODE.fullmatch, column.words)):
        return None
    words = None if role == "numbers" else MISSING
    change = Conversion(column.name, column.name, {"number_format": found.fields}, words)
    return CellForm(column.name, (change,), numbers=found)


def _dates(
    column: ColumnProfile, words: Sequence[str], names: Collection[str], zone: str
) -> CellForm | None:
    form = form_of(column, words)
    if form is None:
        return None
    if zone and form.zone:
        form = replace(form, zone=zone, offsets=())
    seconds = "HOUR" if form.of_a_day else "SECONDS"
    changes = [Conversion(column.name, column.name, form.fields(seconds), NO_DATES)]
    for part in form.parts:
        name = f"{column.name}_{PARTS[part]}"
        while name in names:
            name += "_"
        changes.append(Conversion(name, column.name, form.fields(part), NO_DATES))
    return CellForm(column.name, tuple(changes), dates=form)


def _are_printed(words: Sequence[str]) -> bool:
    """Whether all texts are lists in brackets, or in parentheses with commas."""
    cells = [cell for word in words if (cell := word.strip()) not in MISSING]
    for some in (cells[:FIRST], cells):
        in_brackets = all(cell[:1] == "[" and cell[-1:] == "]" for cell in some)
        if not some or not (in_brackets or all(cell[:1] == "(" and "," in cell for cell in some)):
            return False
        try:
            lists(pa.array(some, pa.large_string()))
        except BadValue:
            return False
    return True
