"""The whole model: features to logits."""

from collections.abc import Mapping

from torch import Tensor, nn

from tzmmoe.batch import Inputs
from tzmmoe.models.base import Body
from tzmmoe.models.encoder import Encoder
from tzmmoe.models.tower import Tower


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
        hidden, addends = self.body(self.encoder(inputs))
        addends = [None] * len(hidden) if addends is None else addends
        towers = zip(self.names, self.towers.values(), hidden, addends, strict=True)
        return {name: tower(part, addend) for name, tower, part, addend in towers}
