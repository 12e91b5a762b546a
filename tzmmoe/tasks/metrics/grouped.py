"""Area under the ROC curve within groups of rows, such as users or sessions."""

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.metrics.base import METRICS, Metric, joined, ratio

REDUCTIONS = ("mean", "mean_by_sample_num", "mean_by_positive_num")


class AUCOfGroups(Metric):
    """Mean of the exact AUCs of the groups with both classes. Takes 13 bytes for each row.

    ``field`` names the ``column`` of the groups in the config. ``reduction``: each group counts 1,
    the number of its rows, or that of its positives.
    """

    consumes = ("probs1", "probs")
    larger_is_better = True

    def __init__(self, field: str, column: str | None, reduction: str = "mean") -> None:
        super().__init__()
        if not column:
            raise ConfigError.at(field, "is not set; name the column of the groups")
        if reduction not in REDUCTIONS:
            words = f"is {reduction!r}; give one of {', '.join(REDUCTIONS)}"
            raise ConfigError.at("reduction", words)
        self.columns, self.column_field, self.reduction = (column,), field, reduction
        self.add_state("predictions", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")
        self.add_state("groups", [], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, labels: Tensor, **columns: Tensor) -> None:
        self.predictions.append(predictions.float())
        self.labels.append(labels > 0.5)
        self.groups.append(columns[self.columns[0]])

    def compute(self) -> Tensor:
        positive = joined(self.labels) > 0
        _, dense = torch.unique(joined(self.groups), return_inverse=True)
        aucs = group_aucs(joined(self.predictions), positive, dense)
        counts = torch.ones_like(aucs)
        if self.reduction != "mean":
            rows = dense if self.reduction == "mean_by_sample_num" else dense[positive]
            counts = torch.bincount(rows, minlength=len(aucs)).to(aucs)
        defined = ~aucs.isnan()
        return ratio((aucs * counts)[defined].sum(), counts[defined].sum())


@METRICS.register("grouped_auc")
class GroupedAUC(AUCOfGroups):
    """Each group counts equally."""

    def __init__(self, *, grouping_key: str | None) -> None:
        super().__init__("grouping_key", grouping_key)


@METRICS.register("gauc")
class GAUC(AUCOfGroups):
    """Of users."""

    def __init__(self, *, uid_field: str | None, reduction: str) -> None:
        super().__init__("uid_field", uid_field, reduction)


@METRICS.register("session_auc")
class SessionAUC(AUCOfGroups):
    """Of sessions."""

    def __init__(self, *, session_id_field: str | None, reduction: str) -> None:
        super().__init__("session_id_field", session_id_field, reduction)


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
