"""Metrics of probabilities: accuracy, log loss, normalized entropy."""

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError, exactly
from tzmmoe.tasks.metrics.base import METRICS, Metric, ratio


@METRICS.register("accuracy")
class Accuracy(Metric):
    """Share of rows whose class, or one of the ``top_k`` best of several, is right."""

    consumes = ("probs",)
    several_classes = True
    larger_is_better = True

    def __init__(self, *, threshold: float, top_k: int) -> None:
        super().__init__()
        if top_k < 1:
            raise ConfigError.at("top_k", f"is {top_k}; give 1 or more")
        self.threshold, self.top_k = threshold, top_k
        self.add_sum("right", dtype=torch.int64)
        self.add_sum("rows", dtype=torch.int64)

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        if predictions.dim() == 1:
            right = (predictions >= self.threshold) == (labels > 0.5)
        else:
            classes = labels.long() if labels.dim() == 1 else labels.argmax(dim=-1)
            top = predictions.topk(min(self.top_k, predictions.shape[-1]), dim=-1).indices
            right = (top == classes.unsqueeze(-1)).any(dim=-1)
        self.right += right.sum()
        self.rows += len(labels)

    def compute(self) -> Tensor:
        return ratio(self.right.double(), self.rows.double())


@METRICS.register("recall_at_topk")
class RecallAtTopK(Accuracy):
    """Share of rows whose class is among the ``topk`` most likely of several."""

    one_class = False

    def __init__(self, *, topk: int) -> None:
        if topk < 1:
            raise ConfigError.at("topk", f"is {topk}; give 1 or more")
        super().__init__(threshold=0.5, top_k=topk)


@METRICS.register("logloss")
class LogLoss(Metric):
    """Mean of -y log p - (1 - y) log(1 - p), with p clamped to [eta, 1 - eta]."""

    consumes = ("probs1", "probs")
    larger_is_better = False

    def __init__(self, *, eta: float) -> None:
        super().__init__()
        if not 0 < eta < 0.5:
            raise ConfigError.at("eta", f"is {exactly(eta)}; give a number within (0, 0.5)")
        self.eta = eta
        self.add_sum("loss")
        self.add_sum("rows")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        p, y = predictions.double().clamp(self.eta, 1 - self.eta), labels.double()
        self.loss -= (y * p.log() + (1 - y) * torch.log1p(-p)).sum()
        self.rows += len(labels)

    def compute(self) -> Tensor:
        return ratio(self.loss, self.rows)


@METRICS.register("normalized_entropy")
class NormalizedEntropy(LogLoss):
    """Log loss over that of predicting the base rate; 1 means that nothing was learned.

    He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, eq. 3.
    """

    def __init__(self, *, eta: float) -> None:
        super().__init__(eta=eta)
        self.add_sum("positives")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        super().update(predictions, labels)
        self.positives += labels.double().sum()

    def compute(self) -> Tensor:
        base = ratio(self.positives, self.rows)
        entropy = torch.special.entr(base) + torch.special.entr(1 - base)  # 0 with one class
        return ratio(self.loss, self.rows * entropy)
