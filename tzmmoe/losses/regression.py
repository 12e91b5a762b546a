"""Losses of numbers."""

from torch import Tensor

from tzmmoe.losses.base import LOSSES, LabelKind, Loss, one_logit


@LOSSES.register("l2_loss")
class L2Loss(Loss):
    """(logit - y)^2; the prediction is the logit."""

    outputs = ("y",)

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, "l2_loss")
        return LabelKind()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - labels).square()

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"y": logits}
