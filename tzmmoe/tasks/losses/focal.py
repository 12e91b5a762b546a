"""Loss of rare classes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tzmmoe.errors import Faults, exactly
from tzmmoe.tasks.losses.base import (
    LOSSES,
    LabelKind,
    Loss,
    LossInputs,
    hardest,
    one_logit,
    share,
    smoothed_logs,
    smoothing,
)


@LOSSES.register("binary_focal_loss")
class BinaryFocalLoss(Loss):
    """-a y (1 - p)^g log p - (1 - a) (1 - y) p^g log(1 - p), p = sigmoid(logit).

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5. A label y between 0 and 1
    is that mixture of both classes. Smoothing acts on the logarithms: log p becomes
    (1 - e/2) log p + e/2 log(1 - p), and the other likewise. Of the rows, the ``ohem_ratio`` with
    the largest losses count (Shrivastava et al., "Training Region-based Object Detectors with
    Online Hard Example Mining", CVPR 2016).
    """

    outputs = ("logits", "probs")
    per_row = True

    def __init__(
        self,
        *,
        gamma: float,
        alpha: float,
        use_alpha: bool,
        label_smoothing: float,
        ohem_ratio: float,
    ) -> None:
        faults = Faults()
        if not 0 <= gamma < math.inf:
            faults.add("gamma", f"is {exactly(gamma)}; give 0 or more")
        if not 0 < alpha < 1:
            faults.add("alpha", f"is {exactly(alpha)}; give above 0 and below 1")
        with faults.under(""):
            self.label_smoothing = smoothing(label_smoothing)
        with faults.under(""):
            self.ohem_ratio = share("ohem_ratio", ohem_ratio)
        faults.stop()
        self.gamma = gamma
        self.of_positives, self.of_negatives = (alpha, 1 - alpha) if use_alpha else (1.0, 1.0)
        self.per_row = ohem_ratio == 1

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, "binary_focal_loss")
        return LabelKind(0, 1)

    def link(self, num_class: int) -> str:
        return "sigmoid"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        # Powers as exponentials of log p: a power of p itself has no gradient where p rounds to 0.
        log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
        fade_p, fade_q = (self.gamma * log_q).exp(), (self.gamma * log_p).exp()
        log_p, log_q = smoothed_logs(log_p, log_q, self.label_smoothing)
        positive = self.of_positives * labels * fade_p * log_p
        negative = self.of_negatives * (1 - labels) * fade_q * log_q
        return -positive - negative

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        if self.ohem_ratio == 1:
            return super().sums(inputs)
        rows = torch.where(inputs.weights > 0, self.forward(inputs.logits, inputs.labels), 0.0)
        kept = hardest(rows, inputs.weights, self.ohem_ratio) * inputs.weights
        return (rows * kept).sum(), self.divisor(inputs)

    def divisor(self, inputs: LossInputs) -> Tensor:
        return self.ohem_ratio * inputs.weights.sum()

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits, "probs": logits.sigmoid()}
