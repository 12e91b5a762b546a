"""Metrics of two classes, predicted by a threshold."""

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError, exactly
from tzmmoe.tasks.metrics.base import METRICS, Metric, ratio


class Thresholded(Metric):
    """Counts of right and wrong predictions: TP, FP, FN and TN.

    A prediction is positive above the threshold, not at it; a label is positive above 0.5.
    """

    consumes = ("probs1", "probs")
    larger_is_better = True

    def __init__(self, *, threshold: float) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ConfigError.at(
                "threshold", f"is {exactly(threshold)}; give a number within [0, 1]"
            )
        self.threshold = threshold
        for name in ("tp", "fp", "fn", "tn"):
            self.add_sum(name, dtype=torch.int64)

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        above, positive = predictions.float() > self.threshold, labels > 0.5
        self.tp += (above & positive).sum()
        self.fp += (above & ~positive).sum()
        self.fn += (~above & positive).sum()
        self.tn += (~above & ~positive).sum()


@METRICS.register("binary_accuracy")
class BinaryAccuracy(Thresholded):
    """(TP + TN) / rows."""

    def compute(self) -> Tensor:
        return ratio((self.tp + self.tn).double(), self.tp + self.fp + self.fn + self.tn)


@METRICS.register("precision")
class Precision(Thresholded):
    """TP / (TP + FP), NaN without a positive prediction."""

    def compute(self) -> Tensor:
        return ratio(self.tp.double(), self.tp + self.fp)


@METRICS.register("recall")
class Recall(Thresholded):
    """TP / (TP + FN), NaN without a positive."""

    def compute(self) -> Tensor:
        return ratio(self.tp.double(), self.tp + self.fn)


@METRICS.register("balanced_accuracy")
class BalancedAccuracy(Thresholded):
    """Mean of the recalls of positives and of negatives, NaN without one of the classes."""

    def compute(self) -> Tensor:
        positives = ratio(self.tp.double(), self.tp + self.fn)
        return (positives + ratio(self.tn.double(), self.tn + self.fp)) / 2


MOST_THRESHOLDS = 10_000_000  # 160 MB of counts


@METRICS.register("max_f1")
class MaxF1(Metric):
    """The largest F1 of ``thresholds`` evenly spaced ones in [0, 1], NaN without positives.

    A prediction above a threshold is positive; at the first one all are, at the last none. A label
    is positive above 0.5.
    """

    consumes = ("probs1", "probs")
    larger_is_better = True

    def __init__(self, *, thresholds: int) -> None:
        super().__init__()
        if not 1 <= thresholds <= MOST_THRESHOLDS:
            words = f"is {thresholds:,}; give 1 to {MOST_THRESHOLDS:,}"
            raise ConfigError.at("thresholds", words)
        self.spaces = max(thresholds - 1, 1)  # between thresholds
        # By the number of inner thresholds that predictions are above.
        self.add_sum("positives", self.spaces, dtype=torch.int64)
        self.add_sum("negatives", self.spaces, dtype=torch.int64)

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        device = predictions.device
        inner = torch.arange(1, self.spaces, dtype=torch.float64, device=device) / self.spaces
        bins = torch.bucketize(predictions.double(), inner)
        counts = torch.bincount(2 * bins + (labels > 0.5), minlength=2 * self.spaces)
        self.negatives += counts[::2]
        self.positives += counts[1::2]

    def compute(self) -> Tensor:
        tp = self.positives.flip(0).cumsum(0).double()  # entry k: above all but k inner thresholds
        fp = self.negatives.flip(0).cumsum(0).double()
        return ratio(2 * tp, torch.where(tp[-1] > 0, tp[-1] + tp + fp, 0)).max()


@METRICS.register("f1")
class F1(Thresholded):
    """2 TP / (2 TP + FP + FN), NaN where no row is positive or predicted so."""

    def compute(self) -> Tensor:
        return ratio(2 * self.tp.double(), 2 * self.tp + self.fp + self.fn)
