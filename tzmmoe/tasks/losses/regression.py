"""Losses of regression, whose prediction is the logit or, for one, its sigmoid."""

import math

from torch import Tensor
from torch.nn import functional as F

from tzmmoe.errors import ConfigError, exactly
from tzmmoe.tasks.losses.base import LOSSES, LabelKind, Loss, one_logit


class NumberLoss(Loss):
    """A loss of one logit, which is itself the prediction."""

    outputs = ("y",)
    word: str
    low: float = -math.inf  # the smallest label

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, self.word)
        return LabelKind(low=self.low)

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"y": logits}


@LOSSES.register("l2_loss")
class L2Loss(NumberLoss):
    """(logit - y)^2."""

    word = "l2_loss"
    precision = 0.5

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - labels).square()


@LOSSES.register("l1_loss")
class L1Loss(NumberLoss):
    """|logit - y|."""

    word = "l1_loss"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - labels).abs()


@LOSSES.register("huber_loss")
class HuberLoss(NumberLoss):
    """d^2 / 2 for |d| <= delta, else delta |d| - delta^2 / 2; d = logit - y.

    Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics, 1964.
    """

    word = "huber_loss"

    def __init__(self, *, delta: float) -> None:
        if not 0 < delta < math.inf:
            raise ConfigError.at("delta", f"is {exactly(delta)}; give a number above 0")
        self.delta = delta

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.huber_loss(logits, labels, reduction="none", delta=self.delta)


@LOSSES.register("msle_loss")
class MSLELoss(NumberLoss):
    """(log(1 + y) - log(1 + max(logit, 1e-7)))^2, as in Keras.

    A logit below 1e-7 has no gradient.
    """

    word = "msle_loss"
    low = 0

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (labels.log1p() - logits.clamp(min=1e-7).log1p()).square()


@LOSSES.register("sigmoid_l2_loss")
class SigmoidL2Loss(Loss):
    """(sigmoid(logit) - y)^2; the prediction is the sigmoid."""

    outputs = ("y",)
    precision = 0.5

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, "sigmoid_l2_loss")
        return LabelKind()

    def link(self, num_class: int) -> str:
        return "sigmoid"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.sigmoid() - labels).square()

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"y": logits.sigmoid()}
