"""A batch's ids and numbers -> one input (B, D) for each feature group."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tzmmoe.batch import Inputs
from tzmmoe.features.base import Feature
from tzmmoe.features.layout import Layout
from tzmmoe.models.base import Body
from tzmmoe.models.lookups import FactorInput, Lookups


@dataclass(frozen=True)
class Piece:
    """Neighbours in a group that are neighbours in the batch too, so that one slice takes them.

    Of the embeddings of one width (``width``), of the numbers (``width`` is None), or of one
    feature's embedded numbers (``embedder``).
    """

    width: int | None
    begin: int
    end: int
    embedder: str | None = None


class Encoder(nn.Module):
    """What a body reads: the features of each group looked up, embedded and joined in the group's
    order, and its factors."""

    def __init__(self, features: Sequence[Feature], body: Body, *, seed: int) -> None:
        super().__init__()
        self.layout = Layout.of(features)
        read = {name for members in body.groups.values() for name in members}
        self.tables = Lookups(
            self.layout, read, lambda feature: (feature.table, feature.pooling == "mean"), seed=seed
        )
        embedders = {f"embed_{f.name}": f.embedder() for f in features if f.name in read}
        self.embedders = nn.ModuleDict({n: layer for n, layer in embedders.items() if layer})
        self.pieces = {name: self._pieces(members) for name, members in body.groups.items()}
        self.factors = nn.ModuleDict(
            {
                name: FactorInput(name, factor, self.layout, seed=seed)
                for name, factor in body.factors.items()
            }
        )

    def _pieces(self, members: Sequence[str]) -> list[Piece]:
        places = {
            name: Piece(width, place, place + 1)
            for name, (width, place) in self.tables.places.items()
        }
        for feature, begin, end in self.layout.numbers:
            key = f"embed_{feature.name}"
            places[feature.name] = Piece(None, begin, end, key if key in self.embedders else None)
        pieces: list[Piece] = []
        for piece in (places[member] for member in members):
            last = pieces[-1] if pieces else None
            plain = last and last.embedder is None and piece.embedder is None
            if plain and last.width == piece.width and last.end == piece.begin:
                pieces[-1] = replace(last, end=piece.end)
            else:
                pieces.append(piece)
        return pieces

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{group: (B, D)} and {factor: (B, N, dim)}."""
        pooled_BFD = self.tables.pooled(inputs)
        joined = {}
        for group, pieces in self.pieces.items():
            parts = []
            for piece in pieces:
                whole = inputs.numbers if piece.width is None else pooled_BFD[piece.width]
                part = whole[:, piece.begin : piece.end]
                parts.append(self.embedders[piece.embedder](part) if piece.embedder else part)
            joined[group] = torch.cat([part.flatten(1) for part in parts], dim=1)
        return joined | {name: factor(inputs) for name, factor in self.factors.items()}
