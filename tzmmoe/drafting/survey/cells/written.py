"""How people write numbers in texts: with units, marks between thousands, a decimal comma, and
words for a missing value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tzmmoe.features.forms import BadValue
from tzmmoe.features.written.formats import NumberFormat

MISSING = frozenset(
    "N/A n/a NA na #N/A N.A. n.a. NULL Null null (null) <null> <NA> None none NONE nil nan NaN NAN "
    "NaT #NULL! #VALUE! #REF! #DIV/0! unknown Unknown UNKNOWN missing Missing MISSING "
    "\\N ? - -- --- . .. * \u2013 \u2014".split()
)
UNIT = (
    r"[$€£¥₹₽₩%‰]|US\$|USD|EUR|GBP|CHF|JPY|CNY|INR|Rs\.?|kg|km|cm|mm|mi|lbs?|oz|ml|min|hrs?|°C|°F"
)
SIGN = r"[+\-\u2212]?"
CELL = re.compile(rf"({SIGN})\s*({UNIT})?\s*({SIGN})\s*(\d[\d.,\s'\u2019]*?|[.,]\d+)\s*({UNIT})?")
FIRST = 20  # texts that are looked at before all
NEARLY = 0.9  # share of the texts
MARKS = (  # decimal, thousands
    *((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " ")),
    *((".", "'"), (".", "\u2019"), (",", "'"), (",", "\u2019")),
)
SPACES = re.compile("[\u00a0\u202f]")
CODE = re.compile(r"[+-]?0\d+")  # 007 is a code, not the number 7


@dataclass(frozen=True)
class Written:
    """The marks of a column's numbers, its units, and its words for a missing value."""

    decimal: str
    thousands: str
    units: tuple[str, ...]
    missing: tuple[str, ...]
    odd: tuple[str, ...] = ()  # the texts that are no numbers, where nearly all are
    doubtful: str = ""  # one in which the thousands might be decimals, if that may be so in all

    @property
    def is_plain(self) -> bool:
        return (self.decimal, self.thousands) == MARKS[0] and not self.units

    @property
    def fields(self) -> dict[str, object]:
        """Those of a NumberFormat."""
        return {"decimal": self.decimal, "thousands": self.thousands, "units": list(self.units)}

    def reads(self, texts: Sequence[str]) -> bool:
        """Whether a feature with these fields reads all of the texts."""
        try:
            NumberFormat(**self.fields)(pa.array(texts, pa.large_string()))
        except BadValue:
            return False
        return True

    @property
    def described(self) -> str:
        """The marks and units, in words."""
        parts = [
            f"decimal {self.decimal!r}" if self.decimal != "." else "",
            f"thousands {self.thousands!r}" if self.thousands else "",
            f"units {', '.join(map(repr, self.units))}" if self.units else "",
        ]
        return ", ".join(filter(None, parts))


def written(words: Sequence[str], share: float = NEARLY) -> Written | None:
    """Of distinct texts, the most frequent first; None unless at least a ``share`` of them are
    numbers, written in one way that is not the plain one throughout, or missing."""
    cells = [word.strip() for word in words]
    first = [cell for cell in cells[:FIRST] if cell not in MISSING]
    if sum(CELL.fullmatch(cell) is not None for cell in first) < share * len(first):
        return None  # most texts are no numbers, and there may be many
    missing = tuple(cell for cell in dict.fromkeys(cells) if cell in MISSING)
    found = {cell: CELL.fullmatch(cell) for cell in cells if cell not in MISSING}
    matches = [each for each in found.values() if each and not (each[1] and each[3])]
    odd = tuple(cell for cell, each in found.items() if not each or (each[1] and each[3]))
    if not matches or len(matches) < share * len(found):
        return None
    units = tuple(sorted({unit for each in matches for unit in (each[2], each[5]) if unit}))
    bodies = [SPACES.sub(" ", each[4]) for each in matches]
    for decimal, thousands in MARKS:
        mark, gap = re.escape(decimal), re.escape(thousands)
        whole = rf"(?:\d{{1,3}}(?:{gap}\d{{2,3}})*{gap}\d{{3}}|\d+)" if thousands else r"\d+"
        number = re.compile(rf"{whole}(?:{mark}\d*)?|{mark}\d+")
        if all(number.fullmatch(body) for body in bodies):
            form = Written(decimal, thousands, units, missing, odd, _doubtful(bodies, thousands))
            plain = form.is_plain and not (missing or odd)
            return None if plain or not form.reads([each[0] for each in matches]) else form
    return None


def _doubtful(bodies: Sequence[str], thousands: str) -> str:
    """``1,234`` if all numbers with the mark between thousands are like it."""
    marked = [body for body in bodies if thousands and thousands in body]
    if thousands not in (".", ",") or not all(re.fullmatch(r"\d{1,3}[.,]\d{3}", b) for b in marked):
        return ""
    return (
        marked[0] if not any(set(body) - set(f"0123456789{thousands}") for body in bodies) else ""
    )
