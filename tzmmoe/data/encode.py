"""Chunks of Arrow rows -> encoded rows -> batches."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tzmmoe.batch import Batch, Column, Inputs
from tzmmoe.data import labels
from tzmmoe.data.passing import cast
from tzmmoe.data.reading.base import Chunk
from tzmmoe.data.reading.parts import joined
from tzmmoe.errors import DataError
from tzmmoe.features.base import Feature, Layout, ordered
from tzmmoe.features.column import read, reread
from tzmmoe.features.forms import BadType, BadValue
from tzmmoe.features.shared import Origin, Tally
from tzmmoe.jagged import Jagged, concatenated, side_by_side


@dataclass(frozen=True)
class Rows:
    """The encoded rows of a chunk; ids, numbers and sequences are those of Inputs, in numpy."""

    num_rows: int
    ids: Mapping[int, Jagged]
    numbers: np.ndarray
    columns: Mapping[str, np.ndarray]
    reserved: pa.RecordBatch
    tallies: Mapping[str, Tally]
    sequences: Mapping[str, Jagged] = field(default_factory=dict)
    missing_labels: Mapping[str, int] = field(default_factory=dict)  # rows without each label

    def permuted(self, order: np.ndarray) -> "Rows":
        reserved = self.reserved
        if reserved.num_columns:
            reserved = reserved.take(pa.array(order))
        return replace(
            self,
            ids={width: ids.take(order) for width, ids in self.ids.items()},
            numbers=self.numbers[order],
            columns={name: column[order] for name, column in self.columns.items()},
            reserved=reserved,
            sequences={name: ids.take(order) for name, ids in self.sequences.items()},
        )

    def batches(self, size: int, begin: int = 0) -> Iterator[Batch]:
        """Batches of ``size`` rows from row ``begin`` on; the last may be smaller.

        No rows at all give one empty batch.
        """
        edges = [*range(begin, self.num_rows, size), self.num_rows]
        for begin, end in pairwise(edges) if self.num_rows else [(0, 0)]:
            inputs = Inputs(
                {width: ids.slice(begin, end).tensors() for width, ids in self.ids.items()},
                torch.from_numpy(self.numbers[begin:end]),
                {n: ids.slice(begin, end).tensors() for n, ids in self.sequences.items()},
            )
            columns = {n: torch.from_numpy(c[begin:end]) for n, c in self.columns.items()}
            yield Batch(inputs, columns, self.reserved.slice(begin, end - begin))


class Assembler:
    """Encodes chunks, for training and for prediction alike.

    ``features`` enter the model; ``helpers`` are only read by other features. ``columns`` are the
    labels, weights and groups; ``reserved`` columns pass through unchanged.
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
        origins = [origin for feature in self.features for origin in feature.origins]
        read = [origin.name for origin in origins if origin.kind == "column"]
        read += [column.name for column in columns]
        self.needed = list(dict.fromkeys([*read, *reserved]))
        self.readers = _readers(self.features, columns)
        self._read_by_others = {origin.name for origin in origins if origin.kind == "feature"}

    def assemble(
        self,
        chunk: Chunk,
        random: np.random.Generator | None = None,
        passing: pa.Schema | None = None,
    ) -> Rows:
        """Encode a chunk. ``random`` draws the rows to mask; without it none is. ``passing``: the
        types of reserved columns; without it they stay as they are, alike in the whole chunk.

        Raises:
            DataError: a value or column that cannot be used, with its file, row and name.
        """
        masked = None
        if self.mask_prob and random is not None:
            masked = chunk.draw(random) < self.mask_prob
        pieces, begin = [], 0
        for rows in chunk.parts:
            end = begin + rows.num_rows
            hidden = None if masked is None else masked[begin:end]
            pieces.append(self._assemble(Piece(chunk, rows, begin, hidden), passing))
            begin = end
        return pieces[0] if len(pieces) == 1 else _joined(pieces)

    def _assemble(self, piece: "Piece", passing: pa.Schema | None) -> Rows:
        rows, layout = piece.rows, self.layout
        encoded, tallies = self._encode(piece)
        numbers = [encoded[slot.feature.name] for slot in layout.numbers]
        columns = {column.name: self._column(piece, column) for column in self.columns}
        return Rows(
            rows.num_rows,
            {
                width: side_by_side([encoded[slot.feature.name] for slot in slots])
                for width, slots in layout.pooled.items()
            },
            np.concatenate([np.zeros((rows.num_rows, 0), np.float32), *numbers], axis=1),
            columns,
            self._passed(piece, passing),
            tallies,
            {slot.feature.name: encoded[slot.feature.name] for slot in layout.sequences},
            {c.name: _missing(columns[c.name]) for c in self.columns if c.role == "label"},
        )

    def _encode(self, piece: "Piece") -> tuple[dict[str, Jagged | np.ndarray], dict[str, Tally]]:
        encoded, tallies = {}, {}
        values: dict[str, Jagged] = {}
        for feature in self.features:
            use = f"feature {feature.name!r}"
            arrays = []
            for origin in feature.origins:
                with piece.located((origin,), use):
                    array = _read(feature, origin, piece.rows, values)
                    is_masked = feature.use_mask and piece.masked is not None
                    arrays.append(array.without(piece.masked) if is_masked else array)
            with piece.located(feature.origins, use):
                if feature.name in self._read_by_others:
                    values[feature.name] = feature.values(arrays)
                if feature.name in self._entering:
                    encoded[feature.name], tallies[feature.name] = feature.encode(arrays)
        return encoded, tallies

    def _passed(self, piece: "Piece", passing: pa.Schema | None) -> pa.RecordBatch:
        rows = piece.rows.select(self.reserved)
        if passing is None or not self.reserved:
            return rows
        columns = []
        for name, kind in zip(passing.names, passing.types, strict=True):
            with piece.located((Origin("column", name),), "reserved"):
                columns.append(cast(rows.column(name), kind))
        return pa.RecordBatch.from_arrays(columns, schema=passing)

    def _column(self, piece: "Piece", column: Column) -> np.ndarray:
        with piece.located((Origin("column", column.name),), column.role):
            return labels.read(column, piece.rows.column(column.name))


def _read(
    feature: Feature, origin: Origin, rows: pa.RecordBatch, values: Mapping[str, Jagged]
) -> Jagged:
    """The values of one of a feature's origins. ``values``: those of other features."""
    if origin.kind == "feature":
        return reread(values[origin.name], feature.weighted)
    if origin.kind == "const":
        array = pa.array([origin.name]).take(pa.array(np.zeros(rows.num_rows, np.int64)))
        return read(array, feature.separator, feature.weighted)
    return feature.cells.read(rows.column(origin.name))


def _missing(labels: np.ndarray) -> int:
    """In how many rows a label (B,) or (B, C) is missing."""
    return int(np.isnan(labels if labels.ndim == 1 else labels[:, 0]).sum())


def _joined(pieces: Sequence[Rows]) -> Rows:
    """The rows of all pieces, in order."""
    first = pieces[0]
    return Rows(
        sum(rows.num_rows for rows in pieces),
        {width: concatenated([rows.ids[width] for rows in pieces]) for width in first.ids},
        np.concatenate([rows.numbers for rows in pieces]),
        {name: labels.joined([rows.columns[name] for rows in pieces]) for name in first.columns},
        joined([rows.reserved for rows in pieces]),
        {name: Tally.of_all([rows.tallies[name] for rows in pieces]) for name in first.tallies},
        {name: concatenated([rows.sequences[name] for rows in pieces]) for name in first.sequences},
        {name: sum(rows.missing_labels[name] for rows in pieces) for name in first.missing_labels},
    )


class UnfitRow(DataError):
    """``row`` of the chunk has a value that cannot be used; ``what``: the message without its place
    in the files."""

    def __init__(self, text: str, what: str = "", row: int = 0) -> None:
        super().__init__(text)
        self.what, self.row = what, row


class UnfitType(UnfitRow):
    """One of some columns has a type that cannot be used where it is read. ``row``: the first with
    a value."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """One part of a chunk: ``rows`` of the same types, from row ``begin`` of the chunk on.

    ``masked``: (B,) bool, the rows whose features are masked, if any are.
    """

    chunk: Chunk
    rows: pa.RecordBatch
    begin: int
    masked: np.ndarray | None

    @contextmanager
    def located(self, origins: Sequence[Origin], use: str) -> Iterator[None]:
        """Turn a bad value or type into a DataError that says where it is in the files."""
        names = " and ".join(str(origin) for origin in origins)
        try:
            yield
        except BadValue as bad:
            row, what = self.begin + bad.row, f"{names} ({use}): {bad.text}"
            raise UnfitRow(f"{self.chunk.place(row)}, {what}", what, row) from bad
        except BadType as bad:
            row, what = self.begin + self._first_value(origins), f"{names} ({use}): {bad}"
            unfit = UnfitType(f"{self.chunk.path(row)}, {what}", what, row)
            unfit.columns = tuple(o.name for o in origins if o.kind == "column")
            raise unfit from bad

    def _first_value(self, origins: Sequence[Origin]) -> int:
        """The first row with a value of one of the origins that are columns."""
        columns = [self.rows.column(o.name) for o in origins if o.kind == "column"]
        nulls = [pc.is_null(column, nan_is_null=True) for column in columns]
        empty = [each.to_numpy(zero_copy_only=False) for each in nulls]
        return int(np.all(empty, axis=0).argmin()) if self.rows.num_rows and empty else 0


def _readers(features: Sequence[Feature], columns: Sequence[Column]) -> dict[str, str]:
    """{column: the part of the config that reads it}, without features of the column's own name."""
    readers = {
        origin.name: f"feature {feature.name!r}"
        for feature in features
        for origin in feature.origins
        if origin.kind == "column" and origin.name != feature.name
    }
    return readers | {column.name: column.reader for column in columns if column.reader}
