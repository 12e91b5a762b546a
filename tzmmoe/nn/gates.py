"""The gates of a mixture of experts."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tzmmoe.nn.by_task import keep_tasks
from tzmmoe.nn.mlp import MLP, StackedLinear


class Gates(nn.Module):
    """For each of T tasks, a distribution over E experts: softmax(W_t h_t + b_t).

    h_t is the input, or the output of the task's own MLP. Ma et al., KDD 2018, eq. 7.
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
    ) -> None:
        super().__init__()
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
        return self.final(hidden).softmax(dim=-1)
