"""A chunk of Arrow rows -> encoded rows, which are cut into batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import torch

from tzmmoe.batch import Batch, Column, Inputs, Ragged
from tzmmoe.data import labels
from tzmmoe.data.reading.base import Chunk
from tzmmoe.errors import DataError
from tzmmoe.features.base import Feature, Ids, Origin, Tally, ordered
from tzmmoe.features.column import Values, read
from tzmmoe.features.forms import BadType, BadValue
from tzmmoe.features.layout import Layout


@dataclass(frozen=True)
class RaggedRows:
    """As batch.Ragged, in numpy, with the number of values before each row (B + 1,)."""

    values: np.ndarray
    lengths: np.ndarray | None
    weights: np.ndarray | None
    num_features: int

    def starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.lengths.sum(axis=1))])

    def permuted(self, order: np.ndarray) -> "RaggedRows":
        if self.lengths is None:
            values = self.values.reshape(-1, self.num_features)[order].ravel()
            return RaggedRows(values, None, None, self.num_features)
        starts = self.starts()
        lengths = self.lengths[order]
        sizes = lengths.sum(axis=1)
        take = np.repeat(starts[order] - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        weights = None if self.weights is None else self.weights[take]
        return RaggedRows(self.values[take], lengths, weights, self.num_features)

    def slices(self, bounds: Sequence[tuple[int, int]]) -> Iterator[Ragged]:
        """Of the rows from each begin to each end, as tensors."""
        starts = None if self.lengths is None else self.starts()
        for begin, end in bounds:
            if starts is None:
                part = self.values[begin * self.num_features : end * self.num_features]
                yield Ragged(torch.from_numpy(part), None, None)
                continue
            span = slice(starts[begin], starts[end])
            weights = None if self.weights is None else torch.from_numpy(self.weights[span])
            lengths = torch.from_numpy(self.lengths[begin:end])
            yield Ragged(torch.from_numpy(self.values[span]), lengths, weights)


@dataclass(frozen=True)
class Rows:
    """The encoded rows of a chunk."""

    num_rows: int
    ids: Mapping[int, RaggedRows]
    numbers: np.ndarray
    columns: Mapping[str, np.ndarray]
    reserved: pa.RecordBatch
    tallies: Mapping[str, Tally]

    def permuted(self, order: np.ndarray) -> "Rows":
        return Rows(
            self.num_rows,
            {width: ragged.permuted(order) for width, ragged in self.ids.items()},
            self.numbers[order],
            {name: column[order] for name, column in self.columns.items()},
            self.reserved.take(pa.array(order)) if self.reserved.num_columns else self.reserved,
            self.tallies,
        )

    def batches(self, size: int, begin: int = 0) -> Iterator[Batch]:
        """Batches of ``size`` rows from row ``begin`` on; the last may be smaller.

        No rows at all give one empty batch.
        """
        edges = [*range(begin, self.num_rows, size), self.num_rows]
        bounds = list(pairwise(edges)) if self.num_rows else [(0, 0)]
        slices = {width: ragged.slices(bounds) for width, ragged in self.ids.items()}
        for begin, end in bounds:
            part = slice(begin, end)
            ids = {width: next(each) for width, each in slices.items()}
            numbers = torch.from_numpy(self.numbers[part])
            columns = {n: torch.from_numpy(column[part]) for n, column in self.columns.items()}
            yield Batch(Inputs(ids, numbers), columns, self.reserved.slice(begin, end - begin))


class Assembler:
    """Encodes chunks: features by their own code, labels, weights and groups as ``columns`` say.

    ``features`` enter the model; ``helpers`` are only read by other features. ``reserved`` columns
    are passed on as they are. The same code serves training and prediction.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        columns: Sequence[Column],
        *,
        helpers: Sequence[Feature] = (),
        reserved: Sequence[str] = (),
        mask_prob: float = 0.0,
    ) -> None:
        self.features = ordered({feature.name: feature for feature in [*features, *helpers]})
        self.layout = Layout.of(features)
        self._entering = {feature.name for feature in features}
        self.columns = list(columns)
        self.reserved = list(reserved)
        self.mask_prob = mask_prob
        origins = [f.origin.name for f in self.features if f.origin.kind == "column"]
        labels_read = [column.name for column in columns]
        self.needed = list(dict.fromkeys([*origins, *labels_read, *reserved]))
        self._read_by_others = {f.origin.name for f in self.features if f.origin.kind == "feature"}

    def assemble(self, chunk: Chunk, random: np.random.Generator | None = None) -> Rows:
        """Encode a chunk. ``random`` decides which rows are masked, if any are.

        Raises:
            DataError: a value or a column that does not fit, with its file, row and name.
        """
        rows = chunk.rows
        masked = None
        if self.mask_prob and random is not None:
            masked = chunk.draw(random) < self.mask_prob
        encoded, tallies = self._encode(chunk, masked)
        numbers = [encoded[feature.name] for feature, _, _ in self.layout.numbers]
        return Rows(
            rows.num_rows,
            {w: interleave([encoded[f.name] for f in fs]) for w, fs in self.layout.ids.items()},
            np.concatenate(numbers, axis=1)
            if numbers
            else np.zeros((rows.num_rows, 0), np.float32),
            {column.name: self._column(chunk, column) for column in self.columns},
            rows.select(self.reserved),
            tallies,
        )

    def _encode(
        self, chunk: Chunk, masked: np.ndarray | None
    ) -> tuple[dict[str, Ids | np.ndarray], dict[str, Tally]]:
        encoded, tallies = {}, {}
        made: dict[str, Values] = {}
        for feature in self.features:
            try:
                origin = self._origin(feature, chunk.rows, made)
                if masked is not None and feature.use_mask:
                    origin = origin.without(masked)
                if feature.name in self._read_by_others:
                    made[feature.name] = feature.values(origin)
                if feature.name in self._entering:
                    encoded[feature.name], tallies[feature.name] = feature.encode(origin)
            except (BadType, BadValue) as bad:
                raise _located(chunk, feature.origin, f"feature {feature.name!r}", bad) from bad
        return encoded, tallies

    def _origin(self, feature: Feature, rows: pa.RecordBatch, made: Mapping[str, Values]) -> Values:
        origin = feature.origin
        if origin.kind == "feature":
            return made[origin.name].passed(feature.weighted)
        if origin.kind == "const":
            array = pa.array([origin.name]).take(pa.array(np.zeros(rows.num_rows, np.int64)))
        else:
            array = rows.column(origin.name)
        return read(array, feature.separator, feature.weighted)

    def _column(self, chunk: Chunk, column: Column) -> np.ndarray:
        try:
            return labels.read(column, chunk.rows.column(column.name))
        except (BadType, BadValue) as bad:
            raise _located(chunk, Origin("column", column.name), column.role, bad) from bad


def _located(chunk: Chunk, origin: Origin, use: str, bad: BadType | BadValue) -> DataError:
    """Where in the files a bad value stands."""
    if isinstance(bad, BadValue):
        return DataError(f"{chunk.place(bad.row)}, {origin} ({use}): {bad.text}")
    return DataError(f"{chunk.pieces[0].path}, {origin} ({use}): {bad}")


def interleave(parts: Sequence[Ids]) -> RaggedRows:
    """Ids of F features, one array each -> row by row, the features' ids side by side."""
    num_features = len(parts)
    if all(part.lengths is None and part.weights is None for part in parts):
        return RaggedRows(
            np.stack([part.values for part in parts], axis=1).ravel(), None, None, num_features
        )
    first = parts[0].values if parts[0].lengths is None else parts[0].lengths
    num_rows = len(first)
    lengths = np.empty((num_rows, num_features), np.int64)
    for place, part in enumerate(parts):
        lengths[:, place] = 1 if part.lengths is None else part.lengths
    starts = (np.cumsum(lengths) - lengths.ravel()).reshape(lengths.shape)
    values = np.empty(int(lengths.sum()), np.int64)
    weighted = any(part.weights is not None for part in parts)
    weights = np.ones(len(values), np.float32) if weighted else None
    for place, part in enumerate(parts):
        if part.lengths is None:
            at = starts[:, place]
        else:
            sizes = lengths[:, place]
            at = np.repeat(starts[:, place] - (np.cumsum(sizes) - sizes), sizes)
            at = at + np.arange(len(part.values))
        values[at] = part.values
        if weights is not None and part.weights is not None:
            weights[at] = part.weights
    return RaggedRows(values, lengths, weights, num_features)
