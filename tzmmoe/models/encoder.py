"""A batch's ids and numbers -> one input (B, D) for each feature group."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tzmmoe.batch import Inputs
from tzmmoe.features.base import Feature, Layout
from tzmmoe.models.base import Body, Factor
from tzmmoe.tables.penalties import penalize
from tzmmoe.tables.table import Bag, Table, Tables, Vectors

Choice = Callable[[Feature], tuple[Table, bool]]


class Lookups(nn.ModuleDict):
    """The rows of the ``read`` features, in tables that ``choose`` gives with whether several
    values are averaged. ``places``: feature -> (width of its ids, place among its rows)."""

    def __init__(self, layout: Layout, read: Iterable[str], choose: Choice, *, seed: int) -> None:
        super().__init__()
        self.places: dict[str, tuple[int, int]] = {}
        wanted = set(read)
        for width, slots in layout.pooled.items():
            members = [slot.feature for slot in slots]
            chosen = {f.name: choose(f) for f in members if f.name in wanted}
            if not chosen:
                continue
            tables = {table.name: table for table, _ in chosen.values()}
            bags = [
                Bag(chosen[f.name][0].name, mean=chosen[f.name][1]) if f.name in chosen else None
                for f in members
            ]
            self[f"width_{width}"] = Tables(
                list(tables.values()), bags, seed=seed, weighted=layout.weighted(width)
            )
            self.places |= {name: (width, place) for place, name in enumerate(chosen)}

    def pooled(self, inputs: Inputs) -> dict[int, Tensor]:
        """{width of the ids: (B, features read, D)}."""
        return {
            width: self[f"width_{width}"](ids.values, ids.lengths, ids.weights)
            for width, ids in inputs.ids.items()
            if f"width_{width}" in self
        }


class FactorInput(nn.Module):
    """One of a body's factors: a batch -> (B, N, dim), the fields in the factor's order."""

    def __init__(self, name: str, factor: Factor, layout: Layout, *, seed: int) -> None:
        super().__init__()

        def choose(feature: Feature) -> tuple[Table, bool]:
            own = f"{feature.name}.{name}"  # no table of the config has a dot in its name
            table = Table(own, feature.table.rows, factor.dim, True, "", factor.init)
            return table, not feature.weighted

        self.tables = Lookups(layout, factor.features, choose, seed=seed)
        spans = {slot.feature.name: range(slot.place, slot.end) for slot in layout.numbers}
        columns = [column for name in factor.features for column in spans.get(name, ())]
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        self.vectors = None
        if columns:
            self.vectors = Vectors(name, len(columns), factor.dim, factor.init, seed=seed)
        penalize(self, factor.penalty)
        self.by_task = factor.by_task
        self.order = self._order(factor.features, spans)

    def _order(self, features: Sequence[str], spans: Mapping[str, range]) -> list[int] | None:
        """Where each field lies when categories come by width, then numbers; None when in order."""
        by_width = sorted(self.tables.places, key=self.tables.places.get)
        begin = {name: place for place, name in enumerate(by_width)}
        order, numbers = [], len(by_width)
        for name in features:
            if name in begin:
                order.append(begin[name])
                continue
            count = len(spans[name])
            order += range(numbers, numbers + count)
            numbers += count
        return None if order == sorted(order) else order

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, N, dim)."""
        pooled = self.tables.pooled(inputs)
        parts = [pooled[width] for width in sorted(pooled)]
        if self.vectors is not None:
            parts.append(self.vectors(inputs.numbers[:, self.columns]))
        fields_BND = torch.cat(parts, dim=1)
        return fields_BND if self.order is None else fields_BND[:, self.order]


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
