"""A batch's ids and numbers -> one input (B, D) for each feature group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tzmmoe.batch import Inputs
from tzmmoe.features.base import Feature
from tzmmoe.features.layout import Layout
from tzmmoe.nn.embedding import Slot, Tables


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
    """Looks up, embeds and joins the features of each group, in the group's order."""

    def __init__(
        self, features: Sequence[Feature], groups: Mapping[str, Sequence[str]], *, seed: int
    ) -> None:
        super().__init__()
        self.layout = Layout.of(features)
        self.tables = nn.ModuleDict()
        for width, members in self.layout.ids.items():
            tables = {feature.table.name: feature.table for feature in members}
            slots = [Slot(f.table.name, mean=f.pooling == "mean") for f in members]
            self.tables[f"width_{width}"] = Tables(list(tables.values()), slots, seed=seed)
        embedders = {f"embed_{feature.name}": feature.embedder() for feature in features}
        self.embedders = nn.ModuleDict({n: layer for n, layer in embedders.items() if layer})
        self.pieces = {name: self._pieces(members) for name, members in groups.items()}

    def _pieces(self, members: Sequence[str]) -> list[Piece]:
        places = {
            feature.name: Piece(width, place, place + 1)
            for width, features in self.layout.ids.items()
            for place, feature in enumerate(features)
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
        """{group: (B, D)}."""
        pooled_BFD = {
            width: self.tables[f"width_{width}"](ids.values, ids.lengths, ids.weights)
            for width, ids in inputs.ids.items()
        }
        joined = {}
        for group, pieces in self.pieces.items():
            parts = []
            for piece in pieces:
                whole = inputs.numbers if piece.width is None else pooled_BFD[piece.width]
                part = whole[:, piece.begin : piece.end]
                parts.append(self.embedders[piece.embedder](part) if piece.embedder else part)
            joined[group] = torch.cat([part.flatten(1) for part in parts], dim=1)
        return joined
