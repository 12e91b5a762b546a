"""Cross entropy of two and of many classes."""

import math

from torch import Tensor
from torch.nn import functional as F

from tzmmoe.errors import ConfigError, exactly
from tzmmoe.tasks.losses.base import LOSSES, LabelKind, Loss, one_logit, smoothing


@LOSSES.register("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    """-w y log p - (1 - y) log(1 - p), p = sigmoid(logit), y smoothed to y (1 - e) + e / 2.

    w, ``pos_weight``, is torch's. With ``ignore_weights`` each labelled row counts once.
    """

    outputs = ("logits", "probs")

    def __init__(self, *, label_smoothing: float, pos_weight: float, ignore_weights: bool) -> None:
        self.label_smoothing = smoothing(label_smoothing)
        self.rows = "labelled" if ignore_weights else "weighted"
        if not 0 < pos_weight < math.inf:
            raise ConfigError.at("pos_weight", f"is {exactly(pos_weight)}; give a number above 0")
        self.pos_weight = pos_weight

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, "binary_cross_entropy")
        return LabelKind(0, 1)

    def link(self, num_class: int) -> str:
        return "sigmoid"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        targets = labels * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        if self.pos_weight == 1:
            return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        # torch's own pos_weight is a tensor, which would be copied to the device at every step.
        positive = self.pos_weight * targets * F.logsigmoid(logits)
        return -positive - (1 - targets) * F.logsigmoid(-logits)

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits, "probs": logits.sigmoid()}


@LOSSES.register("softmax_cross_entropy")
class SoftmaxCrossEntropy(Loss):
    """-sum_c y_c log softmax(logits)_c; labels are classes (B,) or distributions (B, C)."""

    outputs = ("logits", "probs", "probs1")

    def __init__(self, *, label_smoothing: float) -> None:
        self.label_smoothing = smoothing(label_smoothing)

    def label_kind(self, num_class: int) -> LabelKind:
        if num_class < 2:
            raise ConfigError.at(
                "num_class", f"is {num_class}; softmax_cross_entropy takes 2 logits or more"
            )
        return LabelKind(0, num_class - 1, num_class)

    def link(self, num_class: int) -> str:
        return "softmax"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        targets = labels.long() if labels.dim() == 1 else labels
        return F.cross_entropy(
            logits, targets, reduction="none", label_smoothing=self.label_smoothing
        )

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        probs = logits.softmax(dim=-1)
        outputs = {"logits": logits, "probs": probs}
        if logits.shape[-1] == 2:
            outputs["probs1"] = probs[:, 1]
        return outputs
