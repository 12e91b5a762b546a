"""The gates of a mixture of experts."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.nn.by_task import keep_tasks
from tzmmoe.nn.mlp import MLP, StackedLinear


class Gates(nn.Module):
    """For each of T tasks, a distribution over E experts: softmax((W_t h_t + b_t) / temperature).

    h_t is the input, or the output of the task's own MLP. Ma et al., KDD 2018, eq. 7.
    In training, a gate leaves out each expert with probability ``dropout``, and the others' weights
    are scaled to the sum 1; if it would leave out all, it keeps all.
    ``entropy`` and ``balance``: the factors of the penalties of a batch's weights, before dropout.
    ``by_task``: every parameter has a part for each task. ``members`` as in ``nn/mlp.py``.
    """

    def __init__(
        self,
        in_features: int,
        *,
        num_tasks: int,
        num_experts: int,
        mlp: dict[str, Any] | None = None,
        bias: bool = True,
        members: int = 1,
        temperature: float = 1.0,
        dropout: float = 0.0,
        entropy: float = 0.0,
        balance: float = 0.0,
    ) -> None:
        super().__init__()
        self.temperature, self.dropout = temperature, dropout
        self.entropy, self.balance = entropy, balance
        self.penalizes_outputs = bool(entropy or balance)
        self.activity_penalties: list[Tensor] = []  # of the last batch in training
        self.by_task = num_tasks > 1
        self.mlp = MLP(in_features, copies=num_tasks, members=members, **mlp) if mlp else None
        width = self.mlp.out_features if self.mlp else in_features
        self.final = StackedLinear(width, num_experts, num_tasks, bias, members)

    def keep(self, kept: Sequence[int]) -> None:
        """Keep the gates of some tasks, by their places, in that order."""
        keep_tasks(self, len(self.final.weight), kept, self.final.members)

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, T, E); each of the T rows sums to 1."""
        hidden = x_BD if self.mlp is None else self.mlp(x_BD)
        scores_BTE = self.final(hidden)
        if self.temperature != 1:
            scores_BTE = scores_BTE / self.temperature
        if self.training and self.penalizes_outputs:
            self.activity_penalties = [self._penalty(scores_BTE)]
        if self.training and self.dropout:
            scores_BTE = self._thinned(scores_BTE)
        return scores_BTE.softmax(dim=-1)

    def __getstate__(self) -> dict[str, Any]:
        """Without the penalties, whose graph cannot be copied or saved."""
        return self.__dict__ | {"activity_penalties": []}

    def _penalty(self, scores_BTE: Tensor) -> Tensor:
        """sum over t of balance CV_e(mean_b g_bte)^2 - entropy mean_b H(g_bt). CV^2 is the variance
        over the squared mean, here E sum_e m_te^2 - 1 as the means m_te of a task add up to 1.

        Shazeer et al., "Outrageously Large Neural Networks", ICLR 2017, eq. 7.
        """
        wide = torch.promote_types(scores_BTE.dtype, torch.float32)
        log_BTE = scores_BTE.log_softmax(dim=-1, dtype=wide)
        weights_BTE = log_BTE.exp()
        means_TE = weights_BTE.mean(dim=0)
        variations_T = means_TE.shape[-1] * means_TE.square().sum(dim=-1) - 1
        entropies_BT = -(weights_BTE * log_BTE).sum(dim=-1)
        return (self.balance * variations_T - self.entropy * entropies_BT.mean(dim=0)).sum()

    def _thinned(self, scores_BTE: Tensor) -> Tensor:
        """-inf where an expert is left out."""
        draws_BTE = torch.rand(scores_BTE.shape, device=scores_BTE.device)
        out_BTE = draws_BTE < self.dropout
        out_BTE &= ~out_BTE.all(dim=-1, keepdim=True)
        return scores_BTE.masked_fill(out_BTE, -math.inf)
