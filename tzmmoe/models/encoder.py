"""The encoder: a batch's ids and numbers -> what a body reads, (B, D) for each feature group."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.batch import Inputs
from tzmmoe.errors import ConfigError, few
from tzmmoe.features.base import Feature, Layout
from tzmmoe.jagged import Jagged
from tzmmoe.models.base import Body, Factor, Pooling
from tzmmoe.system.seeds import generator_of
from tzmmoe.tables.initializers import Initializer, table_initializer
from tzmmoe.tables.penalties import penalize
from tzmmoe.tables.table import Bag, Table, Tables, Vectors

TableSelector = Callable[[Feature], tuple[Table, bool]]


class TablesByWidth(nn.ModuleDict):
    """Tables of the ``read`` features, by width of their ids. ``select`` gives a feature's
    table and whether its values are averaged. ``places``: feature -> (width, place among those
    read). Without ``weighted``, the weights of ids are ignored."""

    def __init__(
        self,
        layout: Layout,
        read: Collection[str],
        select: TableSelector,
        *,
        seed: int,
        weighted: bool = True,
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
                    weighted=weighted and layout.weighted(width),
                )

    def pooled(self, inputs: Inputs) -> dict[int, Tensor]:
        """{width of the ids: (B, number of features read, D)}."""
        return {
            width: self[f"width_{width}"](ids.values, ids.lengths, ids.weights)
            for width, ids in inputs.ids.items()
            if f"width_{width}" in self
        }


class FactorInput(nn.Module):
    """One of a body's factors: a batch -> (B, N, dim), fields or features in the factor's order."""

    task_dim = 1  # of its parameters: tasks follow each other along it, if they are by_task

    def __init__(self, name: str, factor: Factor, layout: Layout, *, seed: int) -> None:
        super().__init__()
        self.pooling = factor.pooling

        def select(feature: Feature) -> tuple[Table, bool]:
            table_name = factor.table_name(name, feature.name, feature.table.name)
            init = factor.init or feature.table.init
            table = Table(table_name, feature.table.rows, factor.dim, True, "", init)
            return table, self._averages(feature, layout)

        read_weights = factor.pooling not in (Pooling.SUM, Pooling.MEAN)
        self.tables = TablesByWidth(
            layout, factor.features, select, seed=seed, weighted=read_weights
        )
        spans = _number_spans(factor, layout)
        counts = {feature: len(span) for feature, span in spans.items()}
        columns = [column for span in spans.values() for column in span]
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        self.vectors = None
        names = {slot.feature.name for slot in layout.numbers if slot.feature.may_be_missing}
        self.may_be_missing = not names.isdisjoint(spans)
        if columns:
            init = factor.init or _by_feature(name, counts, seed)
            self.vectors = Vectors(name, len(columns), factor.dim, init, seed=seed)
        penalize(self, factor.penalty)
        self.by_task = factor.by_task
        sums_numbers = factor.by_feature and any(count > 1 for count in counts.values())
        self.summed = list(counts.values()) if sums_numbers else None  # vectors of each feature
        self.order = self._order(
            factor.features, dict.fromkeys(counts, 1) if factor.by_feature else counts
        )

    def _averages(self, feature: Feature, layout: Layout) -> bool:
        """Whether the tables average the rows; otherwise they sum them, times weights if read."""
        if self.pooling is Pooling.BY_FEATURE:
            return not feature.weighted
        if self.pooling is Pooling.WEIGHTED_MEAN:  # weights then become shares of their sum
            return not layout.weighted(feature.table.dim)
        return self.pooling is Pooling.MEAN

    def _order(self, features: Sequence[str], counts: Mapping[str, int]) -> list[int] | None:
        """The place of each field, categories by width before numbers; None if already in order.
        ``counts``: {feature of numbers: how many places it takes}."""
        by_width = sorted(self.tables.places, key=self.tables.places.get)
        places = {name: range(place, place + 1) for place, name in enumerate(by_width)}
        end = len(by_width)
        for name, count in counts.items():
            places[name] = range(end, end + count)
            end += count
        order = [place for name in features for place in places[name]]
        return None if order == list(range(end)) else order

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, N, dim)."""
        if self.pooling in (Pooling.SUM, Pooling.MEAN):
            inputs = _with_weights(inputs, lambda ids: None)
        elif self.pooling is Pooling.WEIGHTED_MEAN:
            inputs = _with_weights(inputs, _shares)
        pooled = self.tables.pooled(inputs)
        parts = [pooled[width] for width in sorted(pooled)]
        if self.vectors is not None:
            numbers_BR = inputs.numbers[:, self.columns]
            if self.may_be_missing:
                numbers_BR = torch.where(numbers_BR.isnan(), 0, numbers_BR)
            vectors_BRD = self.vectors(numbers_BR)
            if self.summed is not None:
                by_feature = vectors_BRD.split(self.summed, dim=1)
                vectors_BRD = torch.stack([part.sum(dim=1) for part in by_feature], dim=1)
            parts.append(vectors_BRD)
        fields_BND = torch.cat(parts, dim=1)
        return fields_BND if self.order is None else fields_BND[:, self.order]


def _number_spans(factor: Factor, layout: Layout) -> dict[str, range]:
    """{feature: its columns in a batch's numbers}, in the order of the vectors."""
    slots = {slot.feature.name: slot for slot in layout.numbers}
    names = [name for name in dict.fromkeys(factor.features) if name in slots]
    if factor.by_feature:
        names.sort()  # so that no vector depends on the order of the features
    return {name: range(slots[name].place, slots[name].end) for name in names}


def _by_feature(name: str, counts: Mapping[str, int], seed: int) -> Initializer:
    """Fills each feature's rows as a table without init_fn, seeded by the feature and factor."""

    def fill(weight: Tensor, generator: torch.Generator, rows: int) -> None:
        for feature, part in zip(counts, weight.split(list(counts.values())), strict=True):
            by_name = generator_of(seed, f"{feature}.{name}")
            table_initializer(None, len(part))(part, by_name, len(part))

    return fill


def _check_plain(features: Sequence[Feature]) -> None:
    """Raise ConfigError if one that is read as a plain number may be missing."""
    names = [repr(feature.name) for feature in features if feature.may_be_missing]
    if names:
        words = "may be missing, but a raw_input reads the number itself, which then has no value"
        remedy = "set default_value to a number, or read it by an input_layer"
        raise ConfigError.at("feature_configs", f"{few(names)} {words}; {remedy}")


def _with_weights(inputs: Inputs, weights: Callable[[Jagged], Tensor | None]) -> Inputs:
    ids = {width: replace(ids, weights=weights(ids)) for width, ids in inputs.ids.items()}
    return replace(inputs, ids=ids)


def _shares(ids: Jagged) -> Tensor | None:
    """Each id's weight, divided by the sum over the ids of its feature and row unless that is 0."""
    if ids.weights is None:
        return None
    lengths = torch.ones_like(ids.values) if ids.lengths is None else ids.lengths
    lengths, weights = lengths.flatten(), ids.weights.flatten()
    ends = lengths.cumsum(0)
    totals = F.embedding_bag(  # sums the weights, by a table whose only row is 1
        torch.zeros_like(ids.flat),
        weights.new_ones(1, 1),
        torch.cat([ends.new_zeros(1), ends]),
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    ).flatten()
    divisors = torch.where(totals.abs() > 0, totals, 1)
    return weights / divisors.repeat_interleave(lengths, output_size=weights.shape[0])


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
    in the group's order; its plain numbers; and the body's factors.

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
        by_name = {feature.name: feature for feature in features}
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
        for name, members in body.numbers.items():
            _check_plain([by_name[member] for member in members])
            self.slices[name] = self._slices(members, plain=True)
        self.unregularized = {n for n, factor in body.factors.items() if not factor.regularized}
        self.factors = nn.ModuleDict(
            {
                name: FactorInput(name, factor, self.layout, seed=seed)
                for name, factor in body.factors.items()
            }
        )

    def _slices(self, members: Sequence[str], *, plain: bool = False) -> list[InputSlice]:
        """``plain``: numbers are not embedded."""
        places = {
            name: InputSlice(width, place, place + 1)
            for name, (width, place) in self.tables.places.items()
        }
        for slot in self.layout.numbers:
            key = f"embed_{slot.feature.name}"
            embedder = key if key in self.embedders and not plain else None
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
        parts = [encoded[name] for name in self.factors if name not in self.unregularized]
        for group, spans in self.embedded.items():
            parts += [encoded[group][:, begin:end] for begin, end in spans]
        none = next(iter(encoded.values())).new_zeros((), dtype=torch.float32)
        return self.regularization / 2 * sum((p.float().square().sum() for p in parts), start=none)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{group: (B, D)}, {input of plain numbers: (B, R)} and {factor: (B, N, dim)}."""
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
