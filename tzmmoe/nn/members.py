"""Members: networks that share their kernels, and are averaged.

Gorishniy, Kotelnikov, Babenko, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
Ensembling", ICLR 2025, after Wen, Tran, Ba, "BatchEnsemble", ICLR 2020. The k members share all
kernels. Each has a vector that its input is multiplied by, here; a scale of each hidden layer's
outputs, biases, norms and activations (``nn/mlp.py``); and a tower of its own.
"""

import math

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError


class MemberInputs(nn.Module):
    """(B, D) -> (B k, D), where row b k + m is x_b r_m. Each number of r starts as 1 or -1, at
    random."""

    def __init__(self, in_features: int, members: int) -> None:
        super().__init__()
        signs_kD = torch.randint(0, 2, (members, in_features)) * 2.0 - 1.0
        self.vectors = nn.Parameter(signs_kD)

    def forward(self, x_BD: Tensor) -> Tensor:
        return (x_BD.unsqueeze(1) * self.vectors).flatten(0, 1)


def check_members(num_members: int) -> None:
    """Raise ConfigError at num_members if it is below 1."""
    if num_members < 1:
        raise ConfigError.at("num_members", f"is {num_members}; give 1 or more")


def member_inputs(in_features: int, members: int) -> nn.Module:
    """``MemberInputs``, or no change for a single network."""
    return MemberInputs(in_features, members) if members > 1 else nn.Identity()


def mean_of_probabilities(logits: Tensor, *, several_classes: bool) -> Tensor:
    """Logits whose sigmoid is the mean of the members' sigmoids, (B, k) -> (B,); of several
    classes, whose softmax is the mean of their softmaxes, (B, k, C) -> (B, C). float32."""
    logits = logits.float()
    if several_classes:
        return torch.logsumexp(logits.log_softmax(dim=-1), dim=1) - math.log(logits.shape[1])
    log_p, log_q = nn.functional.logsigmoid(logits), nn.functional.logsigmoid(-logits)
    return torch.logsumexp(log_p, dim=1) - torch.logsumexp(log_q, dim=1)
