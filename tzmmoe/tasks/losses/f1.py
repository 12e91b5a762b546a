"""Cross entropy that is reweighted towards F1."""

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
    one_logit,
    smoothed_logs,
    smoothing,
    weighted_sums,
)

# v is at most this times 1 / b, its value where as many positives are predicted as there are.
MOST_FACTOR = 10.0


@LOSSES.register("f1_reweighted_loss")
class F1ReweightedLoss(Loss):
    """-y log p - v (1 - y) log(1 - p), v = P / (P + (b - 1) Y); P and Y: sums of p and y over the
    batch, by the rows' weights; b = ``f1_beta_square``.

    Lin et al., "Adaptive Scaling for Sparse Detection in Information Extraction", ACL 2018. Where
    P + (b - 1) Y is near 0 or below, v is 10 / b. v has a gradient, as in EasyRec.
    """

    outputs = ("logits", "probs")
    per_row = True

    def __init__(self, *, f1_beta_square: float, label_smoothing: float) -> None:
        faults = Faults()
        if not 0 < f1_beta_square < math.inf:
            faults.add("f1_beta_square", f"is {exactly(f1_beta_square)}; give a number above 0")
        with faults.under(""):
            self.label_smoothing = smoothing(label_smoothing)
        faults.stop()
        self.beta_square = f1_beta_square

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, "f1_reweighted_loss")
        return LabelKind(0, 1)

    def link(self, num_class: int) -> str:
        return "sigmoid"

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        labels, weights = inputs.labels, inputs.weights
        log_p, log_q = F.logsigmoid(inputs.logits), F.logsigmoid(-inputs.logits)
        log_p, log_q = smoothed_logs(log_p, log_q, self.label_smoothing)
        factor = self._factor_of_negatives(inputs.logits, labels, weights)
        rows = -labels * log_p - factor * (1 - labels) * log_q
        return weighted_sums(rows, weights)

    def _factor_of_negatives(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        # In float64, in which no sum of probabilities is 0 unless there are no rows.
        predicted = (logits.double().sigmoid() * weights).sum()
        needed = predicted + (self.beta_square - 1) * (labels * weights).sum()
        bound = self.beta_square / MOST_FACTOR * predicted
        whole = torch.maximum(needed, bound)
        return torch.where(whole > 0, predicted / torch.where(whole > 0, whole, 1.0), 1.0)

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits, "probs": logits.sigmoid()}
