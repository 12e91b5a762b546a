"""The order in which an epoch's rows are read, as chunks: a pure function of what it names."""

import os.path
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from tzmmoe.batch import Position
from tzmmoe.data.base import Chunk, Piece, Source
from tzmmoe.errors import DataError


@dataclass(frozen=True)
class Order:
    """One pass over ``files``, cut into chunks of ``chunk_rows`` rows.

    With ``shuffle`` the files are permuted, and the rows within a chunk. ``done`` are files that
    the same epoch read before, in a pass over fewer files, and ``done_rows`` their rows.
    """

    epoch: int
    files: tuple[str, ...]
    shuffle: bool
    seed: int
    chunk_rows: int
    done: tuple[str, ...] = ()
    done_rows: int = 0

    @classmethod
    def plan(
        cls, epoch: int, files: Sequence[str], *, shuffle: bool, seed: int, chunk_rows: int
    ) -> "Order":
        names = list(files)
        if shuffle:
            generator = np.random.default_rng([seed, epoch])
            names = [names[place] for place in generator.permutation(len(names))]
        return cls(epoch, tuple(names), shuffle, seed, chunk_rows)

    def to_json(self) -> dict:
        """With absolute paths, so that a later run may start elsewhere."""
        absolute = {
            name: [os.path.abspath(file) for file in getattr(self, name)]
            for name in ("files", "done")
        }
        return {**asdict(self), **absolute}

    @classmethod
    def from_json(cls, value: dict) -> "Order":
        tuples = {name: tuple(value[name]) for name in ("files", "done")}
        return cls(**{**value, **tuples})

    def permutation(self, chunk: int, num_rows: int) -> np.ndarray | None:
        """The order of a chunk's rows, or None when they stay."""
        if not self.shuffle:
            return None
        return self.random(chunk, "rows").permutation(num_rows)

    def random(self, chunk: int, use: str) -> np.random.Generator:
        """Randomness of one chunk for one use."""
        return np.random.default_rng([self.seed, self.epoch, chunk, *use.encode()])


def chunks(
    source: Source, order: Order, columns: Sequence[str], since: Position
) -> Iterator[Chunk]:
    """The order's chunks, from the one that ``since`` names on."""
    index = since.chunk
    pieces: list[Piece] = []
    batches: list[pa.RecordBatch] = []
    gathered = 0
    for file in range(since.file, len(order.files)):
        row = since.file_row if file == since.file else 0
        for batch, is_last in _marked(source.read(order.files[file], columns, row)):
            while batch.num_rows:
                taken = batch.slice(0, order.chunk_rows - gathered)
                batches.append(taken)
                pieces.append(Piece(order.files[file], file, row, taken.num_rows))
                gathered += taken.num_rows
                row += taken.num_rows
                batch = batch.slice(taken.num_rows)
                if gathered == order.chunk_rows:
                    is_read = is_last and not batch.num_rows
                    then = (file + 1, 0) if is_read else (file, row)
                    yield Chunk(index, _join(batches, pieces), tuple(pieces), then)
                    index, pieces, batches, gathered = index + 1, [], [], 0
    if gathered:
        yield Chunk(index, _join(batches, pieces), tuple(pieces), (len(order.files), 0))


def _marked(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """Batches that have rows, each with whether it is the last one."""
    held = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if held is not None:
            yield held, False
        held = batch
    if held is not None:
        yield held, True


def _join(batches: list[pa.RecordBatch], pieces: list[Piece]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    num_rows = sum(batch.num_rows for batch in batches)
    if not batches[0].num_columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * num_rows, pa.struct([])))
    try:
        tables = [pa.Table.from_batches([batch]) for batch in batches]
        table = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
        return table.combine_chunks().to_batches(max_chunksize=num_rows)[0]
    except (pa.ArrowException, TypeError) as error:
        first, last = pieces[0].path, pieces[-1].path
        raise DataError(f"{first} and {last} store a column differently: {error}") from error
