"""Distances between distributions."""

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.losses.base import LOSSES, LabelKind, Loss
from tzmmoe.tasks.losses.cross_entropy import BinaryCrossEntropy, SoftmaxCrossEntropy

BINARY = BinaryCrossEntropy(label_smoothing=0.0, pos_weight=1.0, ignore_weights=False)
SOFTMAX = SoftmaxCrossEntropy(label_smoothing=0.0)


@LOSSES.register("kld_loss")
class KLDLoss(Loss):
    """sum_c y_c log(y_c / p_c), with 0 log 0 = 0: cross entropy minus the entropy of the labels.

    For one logit, p is (sigmoid(logit), 1 - sigmoid(logit)) and the label y_1 is in [0, 1]; for
    several, p is their softmax and labels are classes (B,) or distributions (B, C). The gradient is
    that of the cross entropy. Kullback and Leibler, "On Information and Sufficiency", Annals of
    Mathematical Statistics, 1951.
    """

    outputs = ("logits", "probs", "probs1")

    def label_kind(self, num_class: int) -> LabelKind:
        if num_class < 1:
            raise ConfigError.at("num_class", f"is {num_class}; kld_loss takes 1 logit or more")
        return _cross_entropy(num_class == 1).label_kind(num_class)

    def link(self, num_class: int) -> str:
        return _cross_entropy(num_class == 1).link(num_class)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        one = logits.dim() == 1
        rows = _cross_entropy(one).forward(logits, labels)
        if labels.dim() == 2:
            return rows - torch.special.entr(labels).sum(dim=1)
        if one:
            return rows - torch.special.entr(labels) - torch.special.entr(1 - labels)
        return rows  # a class has no entropy

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return _cross_entropy(logits.dim() == 1).predict(logits)


def _cross_entropy(one_logit: bool) -> Loss:
    return BINARY if one_logit else SOFTMAX
