"""Boundaries that cut numbers into buckets of about equally many rows."""

from decimal import ROUND_FLOOR, Decimal
from itertools import pairwise

import numpy as np

BUCKETS = 32
LEAST = 20  # sampled rows of a bucket; an embedding learned from fewer is noise


def boundaries(numbers: np.ndarray, whole: bool) -> list[float]:
    """Ascending cuts for about ``BUCKETS`` buckets of equally many rows; NaN are left out.

    A value that fills a bucket alone, such as the 0 of most amounts, gets it to itself, so that
    the rest is still cut finely. Few values get one bucket each.
    """
    values, counts = np.unique(numbers[np.isfinite(numbers)], return_counts=True)
    if len(values) <= BUCKETS:
        return [_short(*pair) for pair in pairwise(values)]
    heavy = counts >= counts.sum() / BUCKETS
    light = np.where(heavy, 0, counts)
    buckets = max(1, min(BUCKETS - int(heavy.sum()), int(light.sum()) // LEAST))
    part = (light.cumsum() - light) * buckets // max(int(light.sum()), 1)
    starts = np.flatnonzero((np.diff(part) > 0) | heavy[1:] | heavy[:-1]) + 1
    cuts = values[starts]
    if whole:
        return cuts.tolist()
    exact = heavy[starts] | heavy[starts - 1]
    short = [_short(values[start - 1], values[start]) for start in starts[exact]]
    return sorted({*short, *_rounded(cuts[~exact])})


def _short(below: float, value: float) -> float:
    """A cut between two neighbouring values with few digits: 0.3 for the 0.30000001192092896 that a
    float of 32 bits holds. It leaves every value in its bucket."""
    lowest = value - (value / 10 - below / 10)
    for digits in range(17):
        cut = _down(value, digits)
        if lowest < cut <= value:
            return cut
    return float(value)


def _rounded(cuts: np.ndarray) -> list[float]:
    """To about a hundredth of the distance to the nearest other cut."""
    if len(cuts) < 2:
        return cuts.tolist()
    steps = np.diff(cuts / 2)  # halves: two cuts may lie farther apart than a float64 can tell
    steps = np.minimum(np.append(steps, steps[-1]), np.append(steps[0], steps))
    digits = 2 - np.floor(np.log10(steps) + np.log10(2)).astype(int)
    return [round(cut, digit) for cut, digit in zip(cuts.tolist(), digits.tolist(), strict=True)]


def _down(value: float, digits: int) -> float:
    """The largest number of so many digits behind the first that is not above ``value``."""
    exact = Decimal(float(value))
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits), ROUND_FLOOR))
