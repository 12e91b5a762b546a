"""Which columns hold dates or times, in which form, and what of them can be a feature."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa

from tzmmoe.drafting.survey.cells.written import FIRST
from tzmmoe.drafting.survey.columns.profile import ColumnProfile
from tzmmoe.features.forms import BadValue
from tzmmoe.features.written.dates import ISO, ZONED, DatePart

PARTS = {"YEAR": "year", "MONTH": "month", "WEEKDAY": "weekday", "HOUR": "hour"}
SINCE_1900, UNTIL_2100 = -2_208_988_800, 4_102_444_800  # seconds since 1970
# Whole numbers since 1970 that are taken for points in time: 2000 to 2040 in seconds.
POINTS = (946_684_800, 2_208_988_800)
DAY_NUMBERS = (19_700_101, 20_401_231)
MOST_DIGITS = 19  # of a number of 64 bits
EPOCHS = {"epoch_second": 1, "epoch_millis": 10**3, "epoch_micros": 10**6, "epoch_nanos": 10**9}
DAYS = ("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y")
SHORT_DAYS = ("%d.%m.%y", "%m/%d/%y", "%d/%m/%y")
SPELLED_DAYS = ("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y")
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
FORMS = (
    *("%Y%m%d", "%Y%m%d %H:%M:%S", "%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S %p"),
    *(day + time for day, time in product((*DAYS, *SPELLED_DAYS, *SHORT_DAYS), TIMES)),
)
OF_A_DAY = ("%H:%M", "%H:%M:%S", "%I:%M %p")
DIGITS = re.compile(r"\d")
OFFSET = re.compile(r"(Z|[+-]\d\d(?::?\d\d)?)$")


@dataclass(frozen=True)
class DateForm:
    """``form``: a date_format, None where it is not needed. ``zone``: the time_zone of points in
    time, "" where times are local. ``offsets``: those in texts, if they differ. ``other``: a second
    form that all texts fit."""

    form: str | None = None
    zone: str = ""
    offsets: tuple[str, ...] = ()
    other: str = ""
    whole: bool = False  # written as whole numbers, which may mean something else
    of_a_day: bool = False  # without a day

    @property
    def parts(self) -> tuple[str, ...]:
        return ("HOUR",) if self.of_a_day else tuple(PARTS)

    def fields(self, part: str) -> dict[str, str]:
        """The fields of a feature of one part."""
        fields = {"date_part": part}
        if self.form:
            fields["date_format"] = self.form
        if self.zone:
            fields["time_zone"] = self.zone
        return fields


def form_of(column: ColumnProfile, words: Sequence[str]) -> DateForm | None:
    """How a column writes dates; None if it holds none. ``words``: its texts, if it holds such,
    without those for a missing value."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return DateForm(zone=kind.tz or "")
    if pa.types.is_date(kind):
        return DateForm()
    if pa.types.is_time(kind):
        return DateForm(of_a_day=True)
    if column.whole and not column.listed:
        numbers = column.numbers[np.isfinite(column.numbers)]
        return _whole(np.unique(numbers).astype(np.int64))
    return _texts([word.strip() for word in words]) if words else None


def _whole(numbers: np.ndarray) -> DateForm | None:
    """Of distinct whole numbers (N,)."""
    if not len(numbers):
        return None
    first, last = POINTS
    for form, unit in EPOCHS.items():
        if numbers.min() >= first * unit and numbers.max() < last * unit:
            return DateForm(form, "UTC", whole=True)
    first, last = DAY_NUMBERS
    if numbers.min() < first or numbers.max() > last:
        return None
    return DateForm("%Y%m%d", whole=True) if _fits(list(map(str, numbers)), "%Y%m%d") else None


def _texts(cells: Sequence[str]) -> DateForm | None:
    if all(cell.isdecimal() for cell in cells[:FIRST]):
        if all(cell.isdecimal() and len(cell) < MOST_DIGITS for cell in cells):
            return _whole(np.array(list(map(int, cells))))
        return None
    if not all(DIGITS.search(cell) and len(cell) > 3 for cell in cells[:FIRST]):
        return None
    if all(re.match(ISO, cell) for cell in cells[:FIRST]):
        return _zoned(cells) if _fits(cells, None) else None
    found = [form for form in (*FORMS, *OF_A_DAY) if _fits(cells, form)]
    if not found:
        return None
    return DateForm(found[0], other=(*found, "")[1], of_a_day=found[0] in OF_A_DAY)


def _zoned(cells: Sequence[str]) -> DateForm:
    """ISO 8601, in the zone that all texts name."""
    offsets = {OFFSET.search(cell)[1] for cell in cells if re.search(ZONED, cell)}
    names = tuple(sorted({_offset(each) for each in offsets}))
    if not names:
        return DateForm()
    return DateForm(None, names[0]) if len(names) == 1 else DateForm(None, "UTC", names)


def _offset(text: str) -> str:
    """``+0130`` and ``+01`` as ``+01:30`` and ``+01:00``."""
    digits = text[1:].replace(":", "").ljust(4, "0")
    return "UTC" if text == "Z" or digits == "0000" else f"{text[0]}{digits[:2]}:{digits[2:]}"


def _fits(cells: Sequence[str], form: str | None) -> bool:
    """Whether all texts are dates of this form, of a year that data may be of."""
    read = DatePart("HOUR" if form in OF_A_DAY else "SECONDS", form, "UTC")
    for some in (cells[:FIRST], cells):
        try:
            seconds = read(pa.array(some, pa.large_string())).to_numpy()
        except BadValue:
            return False
        if seconds.min() < SINCE_1900 or seconds.max() > UNTIL_2100:
            return False
    return True
