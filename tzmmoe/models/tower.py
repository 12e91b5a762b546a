"""A tower: the network of one task."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.nn.mlp import MLP, Network


class Tower(nn.Module):
    """Layers, then a linear layer to the logits.

    ``mlp``: the fields of an MLP, or the layers themselves; None for none. The input of the linear
    layer is the tower's hidden state, of width ``state_features``. Without ``linear``, the state
    itself is the logits.
    """

    def __init__(
        self,
        in_features: int,
        num_class: int,
        mlp: Mapping[str, Any] | Network | None,
        *,
        bias: bool = True,
        linear: bool = True,
    ) -> None:
        super().__init__()
        self.mlp = MLP(in_features, **mlp) if isinstance(mlp, Mapping) else mlp
        self.state_features = in_features if self.mlp is None else self.mlp.out_features
        self.num_class = num_class
        self.linear = nn.Linear(self.state_features, num_class, bias=bias) if linear else None

    def state(self, x_BH: Tensor, read: Sequence[Tensor] = ()) -> Tensor:
        """Hidden state (B, state_features), from the body's input for the tower, concatenated with
        the states of the towers that it reads."""
        x_BD = torch.cat([x_BH, *read], dim=1) if read else x_BH
        return x_BD if self.mlp is None else self.mlp(x_BD).squeeze(1)

    def logits(self, state: Tensor, addend_B1: Tensor | None = None) -> Tensor:
        """(B,), or (B, C) for several classes."""
        logits = state if self.linear is None else self.linear(state)
        if addend_B1 is not None:
            logits = logits + addend_B1
        return logits.squeeze(-1) if self.num_class == 1 else logits

    def forward(self, x_BH: Tensor, addend_B1: Tensor | None = None) -> Tensor:
        """The logits of a tower that reads no other tower."""
        return self.logits(self.state(x_BH), addend_B1)
