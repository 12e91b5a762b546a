"""The mark between the values of text cells that hold several, as in ``action|comedy``."""

from collections.abc import Sequence
from dataclasses import dataclass

MARKS = ("|", ";", ",")
OFTEN = 0.1  # share of the distinct cells that hold the mark
FEWER = 0.5  # distinct parts, as a share of distinct cells: parts come again, whole cells do not


@dataclass(frozen=True)
class Separated:
    """``mark`` cuts cells into ``num_distinct`` parts, at most ``longest`` of them in one."""

    mark: str
    num_distinct: int
    longest: int


def separated(words: Sequence[str]) -> Separated | None:
    """Of distinct cells; None when they seem to be whole."""
    for mark in MARKS:
        cells = [word.split(mark) for word in words]
        parts = {part for cell in cells for part in cell if part}
        holding = sum(len(cell) > 1 for cell in cells)
        padded = any(part != part.strip() for part in parts)  # prose, as in "Smith, John"
        if holding >= OFTEN * len(cells) and len(parts) <= FEWER * len(cells) and not padded:
            return Separated(mark, len(parts), max(map(len, cells)))
    return None
