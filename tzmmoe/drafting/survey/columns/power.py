"""Whether whole numbers name things or measure something, by how they predict the labels.

A row's label is predicted from the rows that hold its very value, from those in its bucket, and
from those that hold the next smaller and larger values. Ids are told by the first: what user 17
does says nothing about user 18. Predictions of a quantity survive without the value itself.

The rows of other folds make a prediction, drawn towards the mean of all rows by as much as their
noise demands (Efron and Morris, "Stein's Estimation Rule and Its Competitors", JASA 1973), so that
many rare values gain nothing from knowing their own labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
SEED = [1024, 5]  # the same files give the same draft
SURE = 4.0  # standard errors
HEAVY = 32  # a value with more than one row in HEAVY has a bucket of its own in either case
ENOUGH = 200  # rows with other values; below, nothing is told
BOUND = 1e9  # rows that the mean counts for where codes tell nothing


@dataclass(frozen=True)
class Power:
    """Shares of a label's variance: ``own`` that the value explains, ``size`` that its bucket does,
    ``near`` that the values beside it do. ``lead``: how far ``own`` is ahead of ``size``, and
    ``clear``: ``size`` ahead of nothing, in standard errors. ``label``: which one."""

    label: str = ""
    own: float = 0.0
    size: float = 0.0
    near: float = 0.0
    lead: float = 0.0
    clear: float = 0.0

    @property
    def names_things(self) -> bool:
        return self.lead > SURE and self.near < self.own / 2

    @property
    def measures(self) -> bool:
        follows = self.clear > SURE and self.near >= self.own / 2
        return self.lead < -SURE or follows


def compare(
    numbers: np.ndarray, cuts: Sequence[float], labels: dict[str, np.ndarray], num_values: int
) -> Power:
    """By the label that tells most. ``numbers`` (N,) and labels (N,) of some rows, NaN where
    missing; ``num_values`` of all rows. ``cuts``: the boundaries of the buckets."""
    found = [Power()]
    for name, label in labels.items():
        known = np.isfinite(numbers) & np.isfinite(label)
        _, codes, counts = np.unique(numbers[known], return_inverse=True, return_counts=True)
        light = (counts * HEAVY < num_values)[codes]
        if light.sum() >= ENOUGH and label[known][light].var() > 0:
            found.append(_compare(name, numbers[known][light], cuts, label[known][light]))
    return max(found, key=lambda power: max(abs(power.lead), power.clear))


def _compare(name: str, numbers: np.ndarray, cuts: Sequence[float], label: np.ndarray) -> Power:
    _, values = np.unique(numbers, return_inverse=True)
    buckets = np.searchsorted(cuts, numbers, side="right")
    folds = np.random.default_rng(SEED).integers(0, FOLDS, len(label))
    own, size, none = (_errors(c, label, folds) for c in (values, buckets, np.zeros_like(values)))
    variance = none.mean()
    return Power(
        label=name,
        own=float(1 - own.mean() / variance),
        size=float(1 - size.mean() / variance),
        near=float(1 - _errors_by_neighbours(numbers, label).mean() / variance),
        lead=_in_standard_errors(size - own),
        clear=_in_standard_errors(none - size),
    )


def _in_standard_errors(differences: np.ndarray) -> float:
    noise = differences.std() / np.sqrt(len(differences))
    return float(differences.mean() / noise) if noise else 0.0


def _errors(codes: np.ndarray, label: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Squared errors (N,) of the means of equal codes in the other folds."""
    num_codes = int(codes.max()) + 1
    place, size = codes * FOLDS + folds, num_codes * FOLDS
    counts = np.bincount(place, minlength=size).reshape(-1, FOLDS)
    sums = np.bincount(place, label, size).reshape(-1, FOLDS)
    counts = counts.sum(axis=1, keepdims=True) - counts
    sums = sums.sum(axis=1, keepdims=True) - sums
    mean = sums.sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    pull = _pull(codes, label)
    means = (sums + pull * mean) / (counts + pull)
    return np.square(label - means[codes, folds])


def _errors_by_neighbours(numbers: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Squared errors (N,) of the mean of the next rows below and above that hold other values."""
    order = np.argsort(numbers, kind="stable")
    label = label[order]
    reach = max(len(label) // HEAVY, 1)  # rows on each side
    sums = np.concatenate([[0.0], np.cumsum(label - label.mean())])
    _, begin, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    end = begin + counts
    low, high = np.maximum(begin - reach, 0), np.minimum(end + reach, len(label))
    total = sums[begin] - sums[low] + sums[high] - sums[end]
    pull = _pull(np.arange(len(label)) // reach, label)
    shift = total / (begin - low + high - end + pull)
    return np.square(label - label.mean() - np.repeat(shift, counts))


def _pull(codes: np.ndarray, label: np.ndarray) -> float:
    """Rows that the mean of all counts for: the variance within codes / that between them."""
    counts = np.bincount(codes).astype(float)
    kept = counts > 0
    counts, sums = counts[kept], np.bincount(codes, label)[kept]
    rows, num_codes = counts.sum(), len(counts)
    if rows <= num_codes or num_codes < 2:
        return BOUND
    within = (np.square(label).sum() - (sums**2 / counts).sum()) / (rows - num_codes)
    spread = (counts * np.square(sums / counts - label.mean())).sum() - (num_codes - 1) * within
    between = spread / (rows - (counts**2).sum() / rows)
    return float(np.clip(within / between, 0.01, BOUND)) if between > 0 else BOUND
