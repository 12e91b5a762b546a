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
    ) -> None:
        super().__init__()
        self.temperature, self.dropout = temperature, dropout
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
        if self.training and self.dropout:
            scores_BTE = self._thinned(scores_BTE)
        return scores_BTE.softmax(dim=-1)

    def _thinned(self, scores_BTE: Tensor) -> Tensor:
        """-inf where an expert is left out."""
        draws_BTE = torch.rand(scores_BTE.shape, device=scores_BTE.device)
        out_BTE = draws_BTE < self.dropout
        out_BTE &= ~out_BTE.all(dim=-1, keepdim=True)
        return scores_BTE.masked_fill(out_BTE, -math.inf)
