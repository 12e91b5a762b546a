"""The whole model: features to logits."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tzmmoe.batch import Inputs
from tzmmoe.models.base import Body
from tzmmoe.models.encoder import Encoder
from tzmmoe.nn.mlp import MLP


class Tower(nn.Module):
    """Layers of one task, then a linear layer to its logits."""

    def __init__(self, in_features: int, num_class: int, mlp: dict[str, Any] | None) -> None:
        super().__init__()
        self.mlp = MLP(in_features, **mlp) if mlp else None
        self.linear = nn.Linear(self.mlp.out_features if self.mlp else in_features, num_class)

    def forward(self, x_BH: Tensor) -> Tensor:
        """(B,), or (B, C) for several classes."""
        hidden = x_BH if self.mlp is None else self.mlp(x_BH).squeeze(1)
        logits = self.linear(hidden)
        return logits.squeeze(-1) if self.linear.out_features == 1 else logits


class RankModel(nn.Module):
    """Encoder, body, towers."""

    def __init__(self, encoder: Encoder, body: Body, towers: Mapping[str, Tower]) -> None:
        super().__init__()
        self.encoder = encoder
        self.body = body
        self.names = list(towers)
        self.towers = nn.ModuleDict({f"tower_{name}": tower for name, tower in towers.items()})

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{tower: logits}, (B,) or (B, C)."""
        parts = self.body(self.encoder(inputs))
        towers = zip(self.names, self.towers.values(), parts, strict=True)
        return {name: tower(part) for name, tower, part in towers}
