"""What a single column, or a row's place in the files, tells of a label."""

from collections.abc import Iterable

import numpy as np
import pyarrow.compute as pc

from tzmmoe.drafting.survey.columns.profile import ColumnProfile
from tzmmoe.drafting.survey.columns.rows import SEED

SUSPECT = 0.99  # AUC of a single column
LEAST = 10  # rows of each class for an AUC
CODES = 256  # quantiles of numbers


def leaks(
    columns: Iterable[ColumnProfile], labels: Iterable[ColumnProfile]
) -> dict[str, dict[str, float]]:
    """{column: {label: AUC}} above ``SUSPECT``. Labels are 0 or 1; lists are not tried."""
    found: dict[str, dict[str, float]] = {}
    truths = {label.name: label.numbers for label in labels}
    for column in columns:
        if column.listed or not column.kind:
            continue
        codes = codes_of(column)
        for label, truth in truths.items():
            auc = auc_of(codes, truth)
            if auc > SUSPECT:
                found.setdefault(column.name, {})[label] = auc
    return found


def sortedness(label: ColumnProfile) -> float:
    """AUC of a row's place in the files: near 1 when the files are sorted by the label."""
    rows = len(label.numbers)
    return auc_of(np.arange(rows) * CODES // max(rows, 1), label.numbers)


def codes_of(column: ColumnProfile) -> np.ndarray:
    """A small whole number for each sampled row: its value's, or its quantile's; 0 for missing."""
    if column.kind == "number" or (column.kind == "whole" and column.num_distinct > CODES):
        numbers = column.numbers
        finite = numbers[np.isfinite(numbers)]
        places = np.linspace(0, max(len(finite) - 1, 0), CODES).astype(np.int64)
        cuts = np.unique(np.sort(finite)[places]) if len(finite) else finite
        return np.where(np.isnan(numbers), 0, np.searchsorted(cuts, numbers, side="right") + 1)
    codes = pc.dictionary_encode(column.sample).indices
    return codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1


def auc_of(codes: np.ndarray, truth: np.ndarray) -> float:
    """AUC of a code's share of ones: the shares come from one half of the rows, the area from the
    other, so that a rare code cannot know its own label. Equal shares count half.

    0.5 when a class has fewer than ``LEAST`` rows in a half.
    """
    known = ~np.isnan(truth)
    codes, truth = codes[known], truth[known] > 0.5
    size = int(codes.max(initial=0)) + 1
    half = np.random.default_rng(SEED).random(len(codes)) < 0.5
    ones, zeros, positives, negatives = (
        np.bincount(codes[part & side], minlength=size)
        for part in (half, ~half)
        for side in (truth, ~truth)
    )
    if min(each.sum() for each in (ones, zeros, positives, negatives)) < LEAST:
        return 0.5
    share = (ones + ones.sum() / (ones.sum() + zeros.sum())) / (ones + zeros + 1)
    _, tie = np.unique(share, return_inverse=True)
    positives, negatives = np.bincount(tie, positives), np.bincount(tie, negatives)
    below = negatives.cumsum() - negatives
    return float((positives * (below + negatives / 2)).sum() / (positives.sum() * negatives.sum()))
