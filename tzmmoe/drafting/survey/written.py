"""How people write numbers in texts: with units, marks between thousands, a decimal comma, and
words for a missing value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MISSING = {
    *("N/A", "n/a", "NA", "na", "#N/A", "NULL", "null", "None", "none", "nil", "nan", "NaN"),
    *("\\N", "?", "-", "--", "."),
}
UNIT = (
    r"[$€£¥₹₽₩%‰]|US\$|USD|EUR|GBP|CHF|JPY|CNY|INR|Rs\.?|kg|km|cm|mm|mi|lbs?|oz|ml|min|hrs?|°C|°F"
)
CELL = re.compile(rf"([+-]?)\s*({UNIT})?\s*([+-]?)\s*(\d[\d.,\s]*?|[.,]\d+)\s*({UNIT})?")
FIRST = 20
MARKS = ((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "))  # decimal, thousands


@dataclass(frozen=True)
class Written:
    """The marks of a column's numbers, its units, and its words for a missing value."""

    decimal: str
    thousands: str
    units: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def described(self) -> str:
        parts = [
            f"decimal {self.decimal!r}" if self.decimal != "." else "",
            f"thousands {self.thousands!r}" if self.thousands else "",
            f"units {', '.join(map(repr, self.units))}" if self.units else "",
            f"{', '.join(map(repr, self.missing))} for missing" if self.missing else "",
        ]
        return ", ".join(filter(None, parts))


def written(words: Sequence[str]) -> Written | None:
    """Of distinct texts; None unless all are numbers, written in one way that is not the plain one,
    or missing."""
    if any(CELL.fullmatch(word.strip()) is None for word in words[:FIRST] if word not in MISSING):
        return None  # most texts are no numbers, and there may be many
    cells = [word.strip() for word in words]
    missing = tuple(cell for cell in dict.fromkeys(cells) if cell in MISSING)
    found = [CELL.fullmatch(cell) for cell in cells if cell not in MISSING]
    if not found or None in found or any(each[1] and each[3] for each in found):
        return None
    units = tuple(sorted({unit for each in found for unit in (each[2], each[5]) if unit}))
    bodies = [each[4] for each in found]
    for decimal, thousands in MARKS:
        mark, gap = re.escape(decimal), re.escape(thousands)
        whole = rf"(?:\d{{1,3}}(?:{gap}\d{{3}})+|\d+)" if thousands else r"\d+"
        number = re.compile(rf"{whole}(?:{mark}\d*)?|{mark}\d+")
        if all(number.fullmatch(body) for body in bodies):
            is_plain = (decimal, thousands) == MARKS[0] and not (units or missing)
            return None if is_plain else Written(decimal, thousands, units, missing)
    return None
