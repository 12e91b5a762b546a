"""Losses of a margin between two classes."""

from torch import Tensor

from tzmmoe.tasks.losses.base import LOSSES, LabelKind, Loss, one_logit


@LOSSES.register("hinge_loss")
class HingeLoss(Loss):
    """max(0, 1 - s logit), s = 2 y - 1.

    ``probs`` is the sigmoid of the logit: it ranks, but a margin does not estimate probabilities.
    """

    outputs = ("logits", "probs")

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, "hinge_loss")
        return LabelKind(0, 1)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (1 - (2 * labels - 1) * logits).relu()

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits, "probs": logits.sigmoid()}
