"""Area under the ROC curve: exact, thinned, or binned."""

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.metrics.base import METRICS, Metric, ascending, joined, ratio
from tzmmoe.tasks.metrics.thinning import CAPACITY, MOST_PLACES, thinned

MOST_THRESHOLDS = 10_000_000  # 160 MB of counts


@METRICS.register("auc")
class AUC(Metric):
    """The chance that a positive gets a higher prediction than a negative; ties count half.

    Without ``thresholds`` the area is exact as long as no process has more than ``capacity`` rows
    of a class; beyond that, its error is at most ``error_bound`` (``tasks/metrics/thinning.py``).

    With N = ``thresholds`` > 0, predictions are told apart at N evenly spaced thresholds in [0, 1],
    at the cost of one addition for each row. The curve begins at (0, 0), so that saturated
    predictions of exactly 1 count as ties; torchmetrics leaves them out. With 0 thresholds the area
    is exact, and takes 5 bytes for each row. A label above 0.5 is positive.
    """

    consumes = ("probs1", "probs")
    larger_is_better = True
    capacity = CAPACITY

    def __init__(self, *, thresholds: int | None) -> None:
        super().__init__()
        if thresholds == 1:
            raise ConfigError.at("thresholds", "is 1; give 0 for the exact area, or 2 or more")
        if (thresholds or 0) > MOST_THRESHOLDS:
            words = f"is {thresholds:,}; give {MOST_THRESHOLDS:,} at most, or 0 for the exact area"
            raise ConfigError.at("thresholds", words)
        self.thresholds = thresholds
        if thresholds:
            self.add_sum("positives", thresholds + 1, dtype=torch.int64)
            self.add_sum("negatives", thresholds + 1, dtype=torch.int64)
            return
        self.add_state("predictions", [], dist_reduce_fx="cat")
        self.add_state("places", [], dist_reduce_fx="cat")  # 2 * level + label, see thinning.py
        self.add_sum("thinnings", MOST_PLACES, dtype=torch.int64)
        self._new_rows = 0  # since the last thinning

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        positive = labels > 0.5
        if self.thresholds:
            bins = bin_of(predictions, self.thresholds)
            size = 2 * (self.thresholds + 1)
            counts = torch.bincount(2 * bins + positive, minlength=size)
            self.negatives += counts[::2]
            self.positives += counts[1::2]
            return
        self.predictions.append(predictions.float())
        self.places.append(positive.to(torch.uint8))
        self._new_rows += len(labels)
        if self.thresholds is None and self._new_rows > self.capacity:
            rows = joined(self.predictions), joined(self.places)
            predictions, places = thinned(*rows, self.thinnings, self.capacity)
            self.predictions, self.places, self._new_rows = [predictions], [places], 0

    def compute(self) -> Tensor:
        if self.thresholds:
            return binned_auc(self.positives, self.negatives)
        return thinned_auc(joined(self.predictions), joined(self.places))

    def reset(self) -> None:
        super().reset()
        self._new_rows = 0

    def remark(self) -> str | None:
        if not self.thresholds:
            return None
        rows = self.positives + self.negatives
        fullest, total = int(rows.max()), int(rows.sum())
        if 2 * fullest <= total:
            return None
        return (
            f"{fullest:,} of {total:,} rows have predictions between the same two of "
            f"{self.thresholds:,} thresholds and count as ties, so the area may be far from the "
            "exact one; remove thresholds from auc, or give 0 for the exact area"
        )


def bin_of(predictions: Tensor, thresholds: int) -> Tensor:
    """How many of N evenly spaced thresholds in [0, 1] each prediction reaches."""
    edges = torch.linspace(0, 1, thresholds, device=predictions.device)
    values = predictions.float().clamp(0, 1)
    bins = (values * (thresholds - 1)).long()  # at most one off, by rounding
    upper = (bins + 1).clamp(max=thresholds - 1)
    bins += (bins + 1 < thresholds) & (values >= edges.index_select(0, upper))
    bins -= (values < edges.index_select(0, bins)).long()
    return bins + 1


def binned_auc(positives: Tensor, negatives: Tensor) -> Tensor:
    """Area under the curve from (0, 0) through the points of all thresholds, by trapezoids in
    float64. Entry k of each argument counts the rows that reach exactly k thresholds."""
    tp = positives.flip(0).cumsum(0)[:-1].double()
    fp = negatives.flip(0).cumsum(0)[:-1].double()
    area = torch.trapezoid(tp, fp) + tp[0] * fp[0] / 2
    return ratio(area, tp[-1] * fp[-1])


def thinned_auc(predictions: Tensor, places: Tensor) -> Tensor:
    """Area under the curve, NaN without a class: of all pairs of a positive and a negative, the
    share in which the positive is higher, counting ties half. places (N,): 2 * level + label; a row
    counts 2^level times."""
    num_places = int(places.max()) + 1 if len(places) else 0
    parts = [ascending(predictions[places == place]) for place in range(num_places)]
    negatives, positives = parts[::2], parts[1::2]
    area = torch.zeros((), dtype=torch.float64, device=predictions.device)
    for i, high in enumerate(positives):
        for j, low in enumerate(negatives):
            twice = torch.searchsorted(low, high).sum()
            twice += torch.searchsorted(low, high, right=True).sum()
            area += twice.double() / 2 * 2.0 ** (i + j)
    p, q = (sum(len(rows) << i for i, rows in enumerate(one)) for one in (positives, negatives))
    return ratio(area, torch.full_like(area, p * q))
