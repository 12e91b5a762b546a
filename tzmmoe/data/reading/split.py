"""One set of files read as two: rows to train on, and rows held out for evaluation.

A hash of a row, or of one of its columns, decides. So the two parts depend neither on the order of
rows and files nor on what stores them, and a row stays on its side when others are added.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.data.reading.base import NO_READERS, Source
from tzmmoe.errors import DataError
from tzmmoe.features.column import decoded, is_list
from tzmmoe.features.forms import as_text, canonical, is_number, is_text
from tzmmoe.features.hashing import hash_texts

TRAINING, EVALUATION = "training", "evaluation"
PARTS = {"--train_input_path": TRAINING, "--eval_input_path": EVALUATION}
BINARY = {pa.binary(), pa.large_binary(), pa.binary_view()}
U64 = np.uint64
GOLDEN = U64(0x9E3779B97F4A7C15)  # of SplitMix64


@dataclass(frozen=True)
class Split:
    """``fraction`` of the rows are held out; with ``by``, of that column's values with all their
    rows. A row that has no value there is trained on."""

    fraction: float
    by: str | None

    def held_out(self, batch: pa.RecordBatch) -> np.ndarray:
        """Whether each row (N,) is, by ``by`` or by all columns of the batch."""
        if self.by:
            hashes, present = hashes_of(batch.column(self.by))
            return present & self._below(hashes)
        total = np.zeros(batch.num_rows, U64)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            (salt,) = hash_texts(pa.array([name], pa.large_string()), "MURMUR_HASH")
            if is_hashable(column.type):
                hashes, present = hashes_of(column)
                total += np.where(present, mixed(hashes ^ salt), U64(0))
        return self._below(total)

    def _below(self, hashes: np.ndarray) -> np.ndarray:
        return (mixed(hashes ^ GOLDEN) >> U64(11)) * 2.0**-53 < self.fraction


@dataclass(frozen=True)
class Blocks:
    """How many rows of a file precede each block of it, and how many of those are in the part; the
    last entry is the end of the file."""

    rows: np.ndarray
    taken: np.ndarray


class SplitSource(Source):
    """The rows of ``source`` that are in a part. A row's number is its place among them."""

    def __init__(self, source: Source, split: Split, part: str) -> None:
        super().__init__(source.files)
        self._source = source
        self._split = split
        self._held_out = part == EVALUATION
        self._blocks: dict[str, Blocks] = {}

    def columns(self, file: str) -> list[str]:
        return self._source.columns(file)

    def types(self, file: str, columns: Sequence[str]) -> list[pa.DataType]:
        return self._source.types(file, columns)

    def check_columns(
        self, file: str, needed: Sequence[str], readers: Mapping[str, str] = NO_READERS
    ) -> None:
        by = {self._split.by: "data_config.eval_split.by"} if self._split.by else {}
        self._source.check_columns(file, list(dict.fromkeys([*needed, *by])), {**by, **readers})

    def num_rows(self, file: str) -> int:
        return int(self._blocks_of(file).taken[-1])

    def blocks(self, file: str) -> list[int]:
        return np.diff(self._blocks_of(file).taken).tolist()

    def known_rows(self, file: str) -> int | None:
        is_known = file in self._blocks or self._source.known_rows(file) is not None
        return self.num_rows(file) if is_known else None

    def is_empty(self, file: str) -> bool:
        return self._source.is_empty(file)

    def has_rows(self) -> bool:
        return any(b.num_rows for file in self.files for b in self.read(file, (), 0))

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        row = 0
        if skip:
            blocks = self._blocks_of(file)
            block = int(np.searchsorted(blocks.taken, skip, side="right")) - 1
            row, skip = int(blocks.rows[block]), skip - int(blocks.taken[block])
        for batch, taken in self._read(file, columns, row):
            kept = batch.take(pa.array(np.flatnonzero(taken)[skip:]))
            skip = max(skip - int(taken.sum()), 0)
            yield kept.select(list(columns)) if columns else kept

    def row_number(self, file: str, row: int) -> int:
        blocks = self._blocks_of(file)
        block = int(np.searchsorted(blocks.taken, row, side="right")) - 1
        begin, rest = int(blocks.rows[block]), row - int(blocks.taken[block])
        for _, taken in self._read(file, (), begin):
            places = np.flatnonzero(taken)
            if rest < len(places):
                return begin + int(places[rest])
            begin, rest = begin + len(taken), rest - len(places)
        raise DataError(f"{file}: was changed or replaced while in use")

    def _read(
        self, file: str, columns: Sequence[str], skip: int
    ) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Rows of both parts, and which of them are in this one."""
        deciding = [self._split.by] if self._split.by else sorted(self.columns(file))
        needed = list(dict.fromkeys([*columns, *deciding]))
        for batch in self._source.read(file, needed, skip):
            self._check_kind(file, batch)
            yield batch, self._split.held_out(batch.select(deciding)) == self._held_out

    def _check_kind(self, file: str, batch: pa.RecordBatch) -> None:
        """Raise DataError for a column that cannot decide."""
        if not self._split.by:
            return
        kind = batch.schema.field(self._split.by).type
        if not is_hashable(kind) or is_list(kind) or pa.types.is_map(kind):
            raise DataError(
                f"{file}, column {self._split.by!r}: is {kind}; data_config.eval_split.by needs a "
                "column of single values"
            )

    def _blocks_of(self, file: str) -> Blocks:
        """Reads the file once."""
        if file not in self._blocks:
            rows, taken = [0], [0]
            for _, in_part in self._read(file, (), 0):
                rows.append(rows[-1] + len(in_part))
                taken.append(taken[-1] + int(in_part.sum()))
            self._blocks[file] = Blocks(np.array(rows), np.array(taken))
        return self._blocks[file]


def is_hashable(kind: pa.DataType) -> bool:
    """Whether values of a type have one form each, whatever stores them."""
    if pa.types.is_map(kind):
        return is_hashable(kind.key_type) and is_hashable(kind.item_type)
    if is_list(kind) or pa.types.is_dictionary(kind):
        return is_hashable(kind.value_type)
    is_plain = is_text(kind) or is_number(kind) or pa.types.is_temporal(kind)
    return is_plain or pa.types.is_null(kind)


def hashes_of(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A hash (N,) of each cell, and whether it holds anything; null, NaN, "" and [] do not."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        hashes, present = hashes_of(column.dictionary)
        codes = column.indices.fill_null(len(hashes)).to_numpy(zero_copy_only=False)
        return np.append(hashes, U64(0))[codes], np.append(present, False)[codes]
    if is_list(kind) or pa.types.is_map(kind):
        return _hashes_of_lists(column)
    if pa.types.is_null(kind):
        return np.zeros(len(column), U64), np.zeros(len(column), bool)
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column).fill_null(True), None, column)
    texts = column.cast(pa.large_binary()) if kind in BINARY else _texts(column)
    present = pc.greater(pc.binary_length(texts), 0).fill_null(False)
    hashes = np.zeros(len(column), U64)
    present = present.to_numpy(zero_copy_only=False)
    hashes[present] = hash_texts(texts.filter(pa.array(present)), "MURMUR_HASH")
    return hashes, present


def _texts(column: pa.Array) -> pa.Array:
    if pa.types.is_temporal(column.type):
        return column.cast(pa.string()).cast(pa.large_string())
    filled = column.fill_null(_zero(column.type)) if is_number(column.type) else column
    texts = as_text(filled if column.null_count else column)
    texts = canonical(texts.fill_null("")) if is_text(column.type) else texts
    return pc.if_else(column.is_valid(), texts, None)


def _zero(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_decimal(kind):  # Arrow casts integers only to decimals of 19 digits and more
        return pa.scalar(Decimal(0), kind)
    return pa.scalar(0).cast(kind)


def _hashes_of_lists(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Of the values in their order; of a map's keys and values."""
    if pa.types.is_map(column.type):
        column = decoded(column)
        lengths = np.diff(column.offsets.to_numpy())
        begin, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
        keys, items = (part.slice(begin, end - begin) for part in (column.keys, column.items))
        hashes = mixed(hashes_of(keys)[0]) + hashes_of(items)[0]
    else:
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        hashes, _ = hashes_of(column.flatten())
    ends = np.cumsum(lengths)
    place = np.arange(len(hashes)) - np.repeat(ends - lengths, lengths)
    sums = np.append(U64(0), np.cumsum(mixed(hashes + GOLDEN * place.astype(U64)), dtype=U64))
    return sums[ends] - sums[ends - lengths], lengths > 0


def mixed(bits: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64: every bit of a number depends on all bits."""
    bits = (bits ^ (bits >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> U64(27))) * U64(0x94D049BB133111EB)
    return bits ^ (bits >> U64(31))


def part_of(source: Source, flag: str, split: Split | None) -> Source:
    """The rows of ``source`` that the files of a flag are read for."""
    return SplitSource(source, split, PARTS[flag]) if split and flag in PARTS else source
