"""EasyRec's short form of many names: ``f[1-21]`` is f1, f2, ..., f21."""

import re

RANGE = re.compile(r"(?P<before>.*)\[(?P<first>\d+)-(?P<last>\d+)\](?P<after>.*)")
MOST_NAMES = 100_000  # of one range


def names_of(text: str) -> list[str]:
    """The names that a text stands for: itself, unless it is a range.

    Raises ValueError, whose message continues a path.
    """
    match = RANGE.fullmatch(text)
    if match is None:
        return [text]
    first, last = int(match["first"]), int(match["last"])
    if last < first:
        raise ValueError(f"{text!r} ends before it begins; swap the numbers")
    if last - first >= MOST_NAMES:
        raise ValueError(f"{text!r} is {last - first + 1:,} names; give {MOST_NAMES:,} at most")
    numbers = range(first, last + 1)
    return [f"{match['before']}{number}{match['after']}" for number in numbers]
