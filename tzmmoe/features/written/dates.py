"""Dates and times -> one part of them, such as the month, as whole numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.errors import ConfigError
from tzmmoe.features.forms import (
    OR_MISSING,
    BadType,
    BadValue,
    as_integers,
    as_text,
    is_number,
    is_text,
)

SECONDS = pa.timestamp("s")
PARTS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "YEAR": pc.year,
    "MONTH": pc.month,
    "DAY": pc.day,
    "WEEKDAY": pc.day_of_week,
    "HOUR": pc.hour,
    "MINUTE": pc.minute,
    "DAY_OF_YEAR": pc.day_of_year,
    "WEEK": pc.iso_week,
    "SECONDS": lambda times: times.cast(pa.int64()),
}
OF_A_DAY = ("HOUR", "MINUTE")
# Values of date_format, and Arrow's names of their units.
EPOCHS = {"epoch_second": "s", "epoch_millis": "ms", "epoch_micros": "us", "epoch_nanos": "ns"}
# ISO 8601, with a space or T before the time, which may end in Z or an offset.
ISO = r"^\d{4}-\d\d-\d\d(?:[ T]\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?$"
ZONED = r"[ T]\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)$"


@dataclass(frozen=True)
class DatePart:
    """``part`` of PARTS of dates. Texts are as ``form`` says, by default ISO 8601.

    Points in time (those with a zone, an offset or since an epoch) are shown in ``zone``. Times
    without a zone are local and count as they stand.
    """

    part: str
    form: str | None
    zone: str

    def __post_init__(self) -> None:
        try:
            pc.local_timestamp(pa.array([0], pa.timestamp("s", self.zone)))
        except pa.ArrowInvalid as error:
            words = f"is {self.zone!r}; give a name such as Europe/Berlin, or an offset as +02:00"
            raise ConfigError.at("time_zone", words) from error
        if self.form is not None and self.form not in EPOCHS and "%" not in self.form:
            known = ", ".join(EPOCHS)
            words = f"is {self.form!r}; give directives such as %d.%m.%Y, or one of {known}"
            raise ConfigError.at("date_format", words)

    def __call__(self, flat: pa.Array) -> pa.Array:
        """Raises BadType and BadValue."""
        kind = flat.type
        if pa.types.is_time(kind):
            if self.part not in OF_A_DAY:
                raise BadType(f"{kind} has no {self.part}; choose HOUR or MINUTE")
            unit = pa.int32() if pa.types.is_time32(kind) else pa.int64()
            local = flat.cast(unit).cast(pa.int64()).cast(pa.timestamp(kind.unit))
        elif pa.types.is_date(kind):
            local = flat.cast(pa.timestamp("ms")).cast(SECONDS, safe=False)
        elif pa.types.is_timestamp(kind):
            local = self._shown(flat) if kind.tz else flat
        elif self.form in EPOCHS and (is_number(kind) or is_text(kind)):
            local = self._shown(self._since_epoch(flat))
        elif is_text(kind) or (self.form is not None and is_number(kind)):
            local = self._parsed(as_text(flat))  # 20241231 may be a number
        else:
            raise BadType(
                f"{kind} is not a date; store dates, or set date_format: 'epoch_second' for whole "
                "numbers of seconds"
            )
        # Rounds down to whole seconds, also before 1970.
        return PARTS[self.part](pc.floor_temporal(local, unit="second").cast(SECONDS)).cast(
            pa.int64()
        )

    def _shown(self, times: pa.Array) -> pa.Array:
        return pc.local_timestamp(times.cast(pa.timestamp(times.type.unit, self.zone)))

    def _since_epoch(self, flat: pa.Array) -> pa.Array:
        try:
            numbers = as_integers(flat)
        except BadValue as bad:
            words = f"{bad.text}, as {self.form} must be; set date_format to its form"
            raise BadValue(bad.row, f"{words}, or {OR_MISSING}") from bad
        try:
            return pa.array(numbers, pa.int64()).cast(pa.timestamp(EPOCHS[self.form], "UTC"))
        except (pa.ArrowInvalid, OverflowError) as error:
            words = f"{numbers.max()} is no {self.form} of a date; set date_format to its unit"
            raise BadValue(int(numbers.argmax()), f"{words}, or {OR_MISSING}") from error

    def _parsed(self, texts: pa.Array) -> pa.Array:
        texts = pc.utf8_trim_whitespace(texts)
        if self.form is not None:
            return self._by_form(texts)
        is_iso = pc.match_substring_regex(texts, ISO)
        if not pc.all(is_iso, min_count=0).as_py():
            raise _bad(texts, is_iso.index(False).as_py())
        texts = pc.replace_substring_regex(texts, r"\.\d+", "")
        zoned = pc.match_substring_regex(texts, ZONED)
        try:
            if not pc.any(zoned).as_py():
                return texts.cast(SECONDS)
            local = pc.if_else(zoned, "1970-01-01", texts).cast(SECONDS)
            points = pc.if_else(zoned, texts, "1970-01-01 00:00Z").cast(pa.timestamp("s", "UTC"))
            return pc.if_else(zoned, self._shown(points), local)
        except pa.ArrowInvalid:
            if len(texts) > 1:  # one by one: slow, but it shows which is not a date
                for place in range(len(texts)):
                    try:
                        self._parsed(texts[place : place + 1])
                    except BadValue as bad:
                        raise BadValue(place, bad.text) from bad
            raise _bad(texts, 0) from None

    def _by_form(self, texts: pa.Array) -> pa.Array:
        times = pc.strptime(texts, format=self.form, unit="s", error_is_null=True)
        if times.null_count:
            raise _bad(texts, times.is_null().index(True).as_py(), self.form)
        # Arrow takes February 30 for March 1; Python looks at the few texts that may be so.
        early = pc.less_equal(pc.day(times), 3)
        for text in pc.unique(texts.filter(early)).to_pylist():
            try:
                datetime.strptime(text, self.form)
            except ValueError as error:
                if "directive" not in str(error):
                    raise _bad(texts, pc.index(texts, text).as_py(), self.form) from error
        return self._shown(times) if times.type.tz else times


def _bad(texts: pa.Array, place: int, form: str | None = None) -> BadValue:
    wanted = "a date such as 2024-12-31 or 2024-12-31 23:59:00" if form is None else f"of {form!r}"
    words = f"{texts[place].as_py()!r} is not {wanted}; set date_format to its form"
    return BadValue(place, f"{words}, or {OR_MISSING}")
