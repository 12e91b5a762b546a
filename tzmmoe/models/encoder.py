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
class InputSlice:
    """Neighbours in a group that are neighbours in the batch too, so that one slice takes them:
    the places [begin, end) among the pooled embeddings of one ``width``, or among the batch's
    numbers (``width`` is None), which an ``embedder`` may embed."""

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
        self.slices = {name: self._slices(members) for name, members in body.groups.items()}
        self.factors = nn.ModuleDict(
            {
                name: FactorInput(name, factor, self.layout, seed=seed)
                for name, factor in body.factors.items()
            }
        )

    def _slices(self, members: Sequence[str]) -> list[InputSlice]:
        places = {
            name: InputSlice(width, place, place + 1)
            for name, (width, place) in self.tables.places.items()
        }
        for slot in self.layout.numbers:
            key = f"embed_{slot.feature.name}"
            embedder = key if key in self.embedders else None
            places[slot.feature.name] = InputSlice(None, slot.place, slot.end, embedder)
        slices: list[InputSlice] = []
        for each in (places[member] for member in members):
            last = slices[-1] if slices else None
            plain = last and last.embedder is None and each.embedder is None
            if plain and last.width == each.width and last.end == each.begin:
                slices[-1] = replace(last, end=each.end)
            else:
                slices.append(each)
        return slices

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{group: (B, D)} and {factor: (B, N, dim)}."""
        pooled_BFD = self.tables.pooled(inputs)
        joined = {}
        for group, slices in self.slices.items():
            parts = []
            for each in slices:
                whole = inputs.numbers if each.width is None else pooled_BFD[each.width]
                part = whole[:, each.begin : each.end]
                parts.append(self.embedders[each.embedder](part) if each.embedder else part)
            joined[group] = torch.cat([part.flatten(1) for part in parts], dim=1)
        return joined | {name: factor(inputs) for name, factor in self.factors.items()}
