"""How the text cells of a feature are written: lists, missing values, numbers, dates."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.errors import ConfigError
from tzmmoe.features import column as columns
from tzmmoe.features.forms import BadValue, as_text, is_text
from tzmmoe.features.written.dates import DatePart
from tzmmoe.features.written.printed import lists
from tzmmoe.jagged import Jagged

TEXT = pa.large_string()
NOTHING = pa.scalar("", TEXT)
SPACES = "\u00a0\u202f"  # that do not break a line, which group digits as a plain space does
MINUS = "\u2212"
# The fields that say how cells are written.
FIELDS = ("list_format", "na_values", "number_format", "date_part", "date_format", "time_zone")


class NumberFormat:
    """Numbers as people write them: ``$1,234.50``, ``1.234,50 EUR``.

    Raises ConfigError for a mark that cannot be one.
    """

    def __init__(self, *, decimal: str, thousands: str, units: Sequence[str]) -> None:
        if decimal not in (".", ","):
            raise ConfigError.at("number_format.decimal", f"is {decimal!r}; give '.' or ','")
        if (
            len(thousands) > 1
            or thousands == decimal
            or (thousands and thousands in "+-0123456789")
        ):
            words = f"is {thousands!r}; give one mark, such as ',', that is not the decimal mark"
            raise ConfigError.at("number_format.thousands", words)
        if "" in units:
            raise ConfigError.at("number_format.units", "has an empty text; remove it")
        self._marks = [thousands, *(SPACES if thousands == " " else "")] if thousands else []
        unit = "|".join(map(re.escape, sorted(map(str.strip, units), key=len, reverse=True)))
        unit = rf"(?:{unit})?\s*" if unit else ""
        group = f"[{re.escape(''.join(self._marks))}]" if self._marks else ""
        whole = rf"\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}|\d+" if group else r"\d+"
        mark = re.escape(decimal)
        self._pattern = (
            rf"^(?P<before>[+-]?)\s*{unit}(?P<after>[+-]?)\s*(?P<whole>(?:{whole})?)"
            rf"(?P<part>(?:{mark}\d*)?)(?P<power>(?:[eE][+-]?\d+)?)\s*{unit}$"
        )
        self._described = f"decimal {decimal!r}, thousands {thousands!r}, units {list(units)}"

    def __call__(self, flat: pa.Array) -> pa.Array:
        """Numbers of texts; of a column of numbers the column itself. Raises BadValue."""
        if not is_text(flat.type):
            return flat
        texts = as_text(flat)
        plain = pc.replace_substring(pc.utf8_trim_whitespace(texts), MINUS, "-")
        found = pc.extract_regex(plain, self._pattern)
        before, after, whole, part, power = found.flatten()
        digits = pc.match_substring_regex(pc.binary_join_element_wise(whole, part, NOTHING), r"\d")
        signs = pc.binary_length(pc.binary_join_element_wise(before, after, NOTHING))
        is_number = pc.and_(digits, pc.less_equal(signs, 1)).fill_null(False)
        if not pc.all(is_number, min_count=0).as_py():
            place = is_number.index(False).as_py()
            words = f"{texts[place].as_py()!r} is not a number with {self._described}"
            raise BadValue(place, f"{words}; extend number_format, or list it in na_values")
        for mark in self._marks:
            whole = pc.replace_substring(whole, mark, "")
        part = pc.replace_substring(part, ",", ".")
        plain = pc.binary_join_element_wise(before, after, whole, part, power, NOTHING)
        return pc.replace_substring_regex(plain, r"^\+", "").cast(pa.float64())


@dataclass(frozen=True)
class CellFormat:
    """How a feature's cells become values, before anything else looks at them.

    The fields are those of the schema; ``number`` and ``date`` are made of several.
    """

    separator: str
    weighted: bool
    printed: bool = False  # whether texts are lists as programs print them
    missing: Sequence[str] = ()
    number: NumberFormat | None = None
    date: DatePart | None = None
    rule: str = ""  # what a checkpoint must agree with, since values depend on it

    @classmethod
    def of(cls, separator: str, weighted: bool, fields: Mapping[str, Any]) -> "CellFormat":
        """From the fields in FIELDS. Raises ConfigError."""
        number, part = fields["number_format"], fields["date_part"]
        if number is not None and part is not None:
            raise ConfigError.at("number_format", "is of no use beside date_part; remove one")
        given = {name: fields[name] for name in ("number_format", "date_part") if fields[name]}
        if part is not None:
            given |= {name: fields[name] for name in ("date_format", "time_zone") if fields[name]}
        return cls(
            separator,
            weighted,
            fields["list_format"] == "PRINTED",
            tuple(fields["na_values"]),
            None if number is None else NumberFormat(**number),
            None if part is None else DatePart(part, fields["date_format"], fields["time_zone"]),
            ", ".join(f"{name} {value}" for name, value in given.items()),
        )

    def read(self, column: pa.Array) -> Jagged:
        """The values of a column, as ``column.read`` returns them. Raises what that raises."""
        if self.printed:
            column = _lists(column, self.missing)
        rows = columns.read(column, self.separator, self.weighted, dates=self.date is not None)
        if self.missing:
            rows = _changed(rows, self._without_missing)
        for change in (self.number, self.date):
            if change is not None:
                rows = _changed(rows, change)
        return rows

    def _without_missing(self, flat: pa.Array) -> pa.Array:
        if pa.types.is_temporal(flat.type):
            return flat
        return pc.if_else(_is_in(as_text(flat), self.missing), None, flat)


def _lists(column: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Texts as the lists that they show, those in ``missing`` as none; other columns unchanged."""
    if pa.types.is_dictionary(column.type):
        if not is_text(column.type.value_type):
            return column
        try:
            entries = _lists(column.dictionary, missing)
        except BadValue:  # perhaps an entry that no row uses
            return _lists(columns.decoded(column), missing)
        return entries.take(column.indices)
    if not is_text(column.type):
        return column
    texts = as_text(column)
    return lists(pc.if_else(_is_in(texts, missing), None, texts) if missing else texts)


def _is_in(texts: pa.Array, words: Sequence[str]) -> pa.Array:
    return pc.is_in(pc.utf8_trim_whitespace(texts), value_set=pa.array(words, TEXT))


def _changed(rows: Jagged, change: Callable[[pa.Array], pa.Array]) -> Jagged:
    """With changed values, without those that became null."""
    flat, codes = columns.distinct(rows.values)
    try:
        flat = change(flat)
    except BadValue as bad:
        if codes is not None:  # perhaps an entry that no row uses
            return _changed(columns.plain(rows), change)
        raise BadValue(rows.row_of(bad.row), bad.text) from bad
    if codes is not None:
        flat = flat.take(pa.array(codes))
    rows = replace(rows, values=flat)
    if not flat.null_count:
        return rows
    return rows.keep(flat.is_valid().to_numpy(zero_copy_only=False))
