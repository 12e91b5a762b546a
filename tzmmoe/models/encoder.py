"""The encoder: a batch's ids and numbers -> an input (B, D) for each feature group."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tzmmoe.batch import Inputs
from tzmmoe.features.base import Feature, Layout
from tzmmoe.models.base import Body, Factor
from tzmmoe.tables.penalties import penalize
from tzmmoe.tables.table import Bag, Table, Tables, Vectors

TableSelector = Callable[[Feature], tuple[Table, bool]]


class TablesByWidth(nn.ModuleDict):
    """Tables of the ``read`` features, by width of their ids. ``select`` gives a feature's
    table and whether its values are averaged. ``places``: feature -> (width, place among those
    read)."""

    def __init__(
        self, layout: Layout, read: Collection[str], select: TableSelector, *, seed: int
    ) -> None:
        super().__init__()
        self.places: dict[str, tuple[int, int]] = {}
        for width, slots in layout.pooled.items():
            features = [slot.feature for slot in slots]
            tables, bags = {}, {}
            for feature in (feature for feature in features if feature.name in read):
                table, mean = select(feature)
                tables[table.name] = table
                self.places[feature.name] = (width, len(bags))
                bags[feature.name] = Bag(table.name, mean=mean)
            if bags:
                self[f"width_{width}"] = Tables(
                    list(tables.values()),
                    [bags.get(feature.name) for feature in features],
                    seed=seed,
                    weighted=layout.weighted(width),
                )

    def pooled(self, inputs: Inputs) -> dict[int, Tensor]:
        """{width of the ids: (B, number of features read, D)}."""
        return {
            width: self[f"width_{width}"](ids.values, ids.lengths, ids.weights)
            for width, ids in inputs.ids.items()
            if f"width_{width}" in self
        }


class FactorInput(nn.Module):
    """One of a body's factors: a batch -> (B, N, dim), fields in the factor's order."""

    task_dim = 1  # of its parameters: tasks follow each other along it, if they are by_task

    def __init__(self, name: str, factor: Factor, layout: Layout, *, seed: int) -> None:
        super().__init__()

        def select(feature: Feature) -> tuple[Table, bool]:
            own = f"{feature.name}.{name}"  # no table of the config has a dot in its name
            table = Table(own, feature.table.rows, factor.dim, True, "", factor.init)
            return table, not feature.weighted

        self.tables = TablesByWidth(layout, factor.features, select, seed=seed)
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
        """The place of each field, categories by width before numbers; None if already in order."""
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
    """Features that are adjacent both in a group and in the batch, so that one slice takes them:
    places [begin, end) among the pooled embeddings of a ``width``, or among the batch's numbers
    (``width`` is None), which an ``embedder`` may embed."""

    width: int | None
    begin: int
    end: int
    embedder: str | None = None


class Encoder(nn.Module):
    """Makes what a body reads: for each group its features, looked up, embedded and concatenated
    in the group's order; and the body's factors.

    ``regularization``: the coefficient s of ``embedding_penalty``.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        body: Body,
        *,
        seed: int,
        regularization: float = 0.0,
    ) -> None:
        super().__init__()
        self.layout = Layout.of(features)
        self.widths = {feature.name: feature.width for feature in features}
        read = {name for members in body.groups.values() for name in members}
        self.tables = TablesByWidth(
            self.layout, read, lambda feature: (feature.table, feature.pooling == "mean"), seed=seed
        )
        embedders = {f"embed_{f.name}": f.embedder() for f in features if f.name in read}
        self.embedders = nn.ModuleDict({n: layer for n, layer in embedders.items() if layer})
        self.regularization = regularization
        self.embedded: dict[str, list[tuple[int, int]]] = {}
        if regularization:
            self.embedded = {n: self._embedded(members) for n, members in body.groups.items()}
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
        for part in (places[member] for member in members):
            last = slices[-1] if slices else None
            is_plain = last and last.embedder is None and part.embedder is None
            if is_plain and last.width == part.width and last.end == part.begin:
                slices[-1] = replace(last, end=part.end)
            else:
                slices.append(part)
        return slices

    def _embedded(self, members: Sequence[str]) -> list[tuple[int, int]]:
        """The columns [begin, end) of a group's input that are embeddings, not plain numbers."""
        spans: list[tuple[int, int]] = []
        begin = 0
        for name in members:
            end = begin + self.widths[name]
            if name in self.tables.places or f"embed_{name}" in self.embedders:
                if spans and spans[-1][1] == begin:
                    begin, _ = spans.pop()
                spans.append((begin, end))
            begin = end
        return spans

    def embedding_penalty(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """s sum e^2 / 2 over the embeddings in what ``forward`` returned, as EasyRec's
        embedding_regularization: those of a batch's rows, after pooling."""
        parts = [encoded[name] for name in self.factors]
        for group, spans in self.embedded.items():
            parts += [encoded[group][:, begin:end] for begin, end in spans]
        return self.regularization / 2 * sum(part.float().square().sum() for part in parts)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{group: (B, D)} and {factor: (B, N, dim)}."""
        pooled_BFD = self.tables.pooled(inputs)
        joined = {}
        for group, slices in self.slices.items():
            parts = []
            for place in slices:
                whole = inputs.numbers if place.width is None else pooled_BFD[place.width]
                part = whole[:, place.begin : place.end]
                parts.append(self.embedders[place.embedder](part) if place.embedder else part)
            joined[group] = torch.cat([part.flatten(1) for part in parts], dim=1)
        return joined | {name: factor(inputs) for name, factor in self.factors.items()}
