"""The network of one task."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tzmmoe.nn.mlp import MLP, Network


class Tower(nn.Module):
    """Layers of one task, then a linear layer to its logits.

    ``mlp``: the fields of the layers, or the layers themselves; None for none.
    """

    def __init__(
        self,
        in_features: int,
        num_class: int,
        mlp: Mapping[str, Any] | Network | None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.mlp = MLP(in_features, **mlp) if isinstance(mlp, Mapping) else mlp
        width = in_features if self.mlp is None else self.mlp.out_features
        self.linear = nn.Linear(width, num_class, bias=bias)

    def forward(self, x_BH: Tensor, addend_B1: Tensor | None = None) -> Tensor:
        """(B,), or (B, C) for several classes."""
        hidden = x_BH if self.mlp is None else self.mlp(x_BH).squeeze(1)
        logits = self.linear(hidden)
        if addend_B1 is not None:
            logits = logits + addend_B1
        return logits.squeeze(-1) if self.linear.out_features == 1 else logits
