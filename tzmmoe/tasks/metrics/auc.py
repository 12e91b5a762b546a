"""Area under the ROC curve, binned or exact, over all rows or by group."""

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.metrics.base import METRICS, Metric, joined, ratio

MOST_THRESHOLDS = 10_000_000  # 160 MB of counts


@METRICS.register("auc")
class AUC(Metric):
    """The chance that a positive gets a higher prediction than a negative; ties count half.

    With N = ``thresholds`` > 0, predictions are told apart at N evenly spaced thresholds in [0, 1],
    at the cost of one addition for each row. The curve begins at (0, 0), so that saturated
    predictions of exactly 1 count as ties; torchmetrics leaves them out. With 0 thresholds the area
    is exact, and takes 5 bytes for each row. A label above 0.5 is positive.
    """

    consumes = ("probs1", "probs")
    larger_is_better = True

    def __init__(self, *, thresholds: int) -> None:
        super().__init__()
        if thresholds == 1:
            raise ConfigError.at("thresholds", "is 1; give 0 for the exact area, or 2 or more")
        if thresholds > MOST_THRESHOLDS:
            words = f"is {thresholds:,}; give {MOST_THRESHOLDS:,} at most, or 0 for the exact area"
            raise ConfigError.at("thresholds", words)
        self.thresholds = thresholds
        if thresholds:
            self.add_sum("positives", thresholds + 1, dtype=torch.int64)
            self.add_sum("negatives", thresholds + 1, dtype=torch.int64)
        else:
            self.add_state("predictions", [], dist_reduce_fx="cat")
            self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        positive = labels > 0.5
        if not self.thresholds:
            self.predictions.append(predictions.float())
            self.labels.append(positive)
            return
        bins = bin_of(predictions, self.thresholds)
        self.positives += torch.bincount(bins[positive], minlength=self.thresholds + 1)
        self.negatives += torch.bincount(bins[~positive], minlength=self.thresholds + 1)

    def compute(self) -> Tensor:
        if self.thresholds:
            return binned_auc(self.positives, self.negatives)
        predictions, labels = joined(self.predictions), joined(self.labels)
        return group_aucs(predictions, labels > 0, torch.zeros_like(labels, dtype=torch.int64))[0]


@METRICS.register("grouped_auc")
class GroupedAUC(Metric):
    """Mean of the exact AUCs of the groups with both classes. Takes 13 bytes for each row."""

    consumes = ("probs1", "probs")
    larger_is_better = True

    def __init__(self, *, grouping_key: str | None) -> None:
        super().__init__()
        if not grouping_key:
            raise ConfigError.at("grouping_key", "is not set; name the column of the groups")
        self.columns = (grouping_key,)
        self.add_state("predictions", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")
        self.add_state("groups", [], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, labels: Tensor, **columns: Tensor) -> None:
        self.predictions.append(predictions.float())
        self.labels.append(labels > 0.5)
        self.groups.append(columns[self.columns[0]])

    def compute(self) -> Tensor:
        groups = joined(self.groups)
        _, dense = torch.unique(groups, return_inverse=True)
        aucs = group_aucs(joined(self.predictions), joined(self.labels) > 0, dense)
        defined = ~aucs.isnan()
        return ratio(aucs[defined].sum(), defined.sum())


def bin_of(predictions: Tensor, thresholds: int) -> Tensor:
    """How many of N evenly spaced thresholds in [0, 1] each prediction reaches."""
    edges = torch.linspace(0, 1, thresholds, device=predictions.device)
    values = predictions.float().clamp(0, 1)
    bins = (values * (thresholds - 1)).long()  # at most one off, by rounding
    bins += (bins + 1 < thresholds) & (values >= edges[(bins + 1).clamp(max=thresholds - 1)])
    bins -= (values < edges[bins]).long()
    return bins + 1


def binned_auc(positives: Tensor, negatives: Tensor) -> Tensor:
    """Area under the curve from (0, 0) through the points of all thresholds, by trapezoids in
    float64. Entry k of each argument counts the rows that reach exactly k thresholds."""
    tp = positives.flip(0).cumsum(0)[:-1].double()
    fp = negatives.flip(0).cumsum(0)[:-1].double()
    area = torch.trapezoid(tp, fp) + tp[0] * fp[0] / 2
    return ratio(area, tp[-1] * fp[-1])


def group_aucs(predictions: Tensor, positive: Tensor, groups: Tensor) -> Tensor:
    """Exact AUC of each group (G,), NaN where a class is missing. groups: (N,), 0 to G - 1.

    By ranks (Mann and Whitney, 1947): AUC = (sum of the positives' ranks - P (P + 1) / 2) / (P Q),
    equal predictions sharing their mean rank.
    """
    num_groups = int(groups.max()) + 1 if len(groups) else 1
    order = torch.argsort(predictions, stable=True)
    order = order[torch.argsort(groups[order], stable=True)]
    predictions, positive, groups = predictions[order], positive[order], groups[order]
    new = torch.ones_like(positive)
    new[1:] = (predictions[1:] != predictions[:-1]) | (groups[1:] != groups[:-1])
    tie = new.long().cumsum(0) - 1
    size = torch.bincount(tie)
    count = torch.bincount(groups, minlength=num_groups)
    # Doubled ranks are whole numbers: their sums are exact, and deterministic on a GPU too.
    twice = (2 * size.cumsum(0) - size + 1)[tie] - 2 * (count.cumsum(0) - count)[groups]
    p = torch.zeros_like(count).index_add_(0, groups, positive.long())
    ranks = torch.zeros_like(count).index_add_(0, groups, twice * positive)
    return ratio((ranks - p * (p + 1)).double(), (2 * p * (count - p)).double())
