"""Chunks, encoded in the background, as a stream of batches with their positions."""

import os.path
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from tzmmoe.batch import Batch, Position
from tzmmoe.data.assemble import Assembler, Rows
from tzmmoe.data.base import Chunk, Piece, Source
from tzmmoe.data.order import Order, chunks
from tzmmoe.data.quality import Quality
from tzmmoe.errors import DataError

UNSHUFFLED_ROWS = 1 << 14  # rows of a chunk when nothing is shuffled, rounded to whole batches


@dataclass(frozen=True)
class Delivery:
    """How rows are ordered, cut into batches and handed over.

    With ``epoch_rows`` an epoch ends after as many batches as hold them, or with the data.
    """

    batch_size: int
    shuffle: bool
    shuffle_batches: int
    drop_remainder: bool
    num_workers: int
    pin_memory: bool
    seed: int
    epoch_rows: int | None = None

    def ends(self, rows: int) -> bool:
        """Whether an epoch is over after so many rows, whatever the files still hold."""
        return self.epoch_rows is not None and rows >= self.epoch_rows

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk: the window of the shuffle, in whole batches."""
        if self.shuffle:
            return self.batch_size * self.shuffle_batches
        return self.batch_size * max(1, UNSHUFFLED_ROWS // self.batch_size)

    def plan(self, epoch: int, files: tuple[str, ...]) -> Order:
        return Order.plan(
            epoch, files, shuffle=self.shuffle, seed=self.seed, chunk_rows=self.chunk_rows
        )


class Loader:
    """Reads a source epoch after epoch.

    The order of the rows depends on the seed and the epoch alone, not on ``num_workers``. ``order``
    is that of the rows being read; saved with a position, it lets a later run read on, also with
    more files or another batch size. ``quality`` counts what was handed out.
    """

    def __init__(self, source: Source, assembler: Assembler, delivery: Delivery) -> None:
        self.source = source
        self.assembler = assembler
        self.delivery = delivery
        self.quality = Quality()
        self.order = delivery.plan(0, source.files)
        self._counted: int | None = None  # rows of an epoch that read all files

    def resume(self, order: Order, position: Position) -> None:
        """Read on in an order that another run began.

        Raises:
            DataError: a file of which rows are still to be read is not named any more.
        """
        named = {os.path.abspath(file): file for file in self.source.files}
        over = self.delivery.ends(order.done_rows + position.row)
        for file in () if over else order.files[position.file :]:
            if file not in named:
                raise DataError(
                    f"{file}: the checkpoint stands in the middle of an epoch that still has to "
                    "read this file, but --train_input_path does not name it; name it too, or "
                    "start a new model_dir with --fine_tune_checkpoint"
                )
        self.order = replace(order, files=tuple(named.get(f, f) for f in order.files))

    def steps(self, num_steps: int | None, num_epochs: int | None) -> int | None:
        """Steps of a run, None where counting the rows of the files would take reading them.

        An epoch that has read them tells. Until then, with ``epoch_rows``, files that do not tell
        their rows are taken to hold enough.
        """
        if num_steps or not num_epochs:
            return num_steps
        size, most = self.delivery.batch_size, self.delivery.epoch_rows
        found = [-(-most // size)] if most else []
        counts = [self.source.known_rows(file) for file in self.source.files]
        rows = self._counted if None in counts else sum(counts)
        if rows is not None:
            found.append(rows // size if self.delivery.drop_remainder else -(-rows // size))
        return min(found) * num_epochs if found else None

    def epoch(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        """The rest of an epoch: batches, each with the position after it.

        Files that the epoch's order does not know, because they were named later, come last.
        """
        if self.order.epoch != since.epoch:
            self.order = self.delivery.plan(since.epoch, self.source.files)
        if self._is_over(since):
            return
        position = since
        with closing(self._passes(since)) as batches:
            for batch, position in batches:
                yield batch, position
                if self._is_over(position):
                    return
        if not since.row:
            self._counted = self.order.done_rows + position.row

    def _is_over(self, position: Position) -> bool:
        return self.delivery.ends(self.order.done_rows + position.row)

    def _passes(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        """The rest of the order, and then of the files that it does not know."""
        rows = self.order.done_rows + since.row
        with closing(self._read(since)) as batches:
            for batch, position in batches:
                rows = self.order.done_rows + position.row
                yield batch, position
        known = {os.path.abspath(file) for file in (*self.order.files, *self.order.done)}
        fresh = tuple(f for f in self.source.files if os.path.abspath(f) not in known)
        if fresh:
            done = (*self.order.done, *self.order.files)
            order = self.delivery.plan(since.epoch, fresh)
            self.order = replace(order, done=done, done_rows=rows)
            yield from self._read(Position(since.epoch))

    def once(self) -> Iterator[Batch]:
        """All batches of the first epoch; an empty one when there are no rows."""
        empty = True
        for batch, _ in self.epoch(Position()):
            empty = False
            yield batch
        if empty:
            columns = [pa.nulls(0)] * len(self.assembler.needed)
            rows = pa.RecordBatch.from_arrays(columns, names=self.assembler.needed)
            piece = Piece(self.source.files[0], 0, 0, 0)
            yield next(self.assembler.assemble(Chunk(0, rows, (piece,))).batches(1))

    def shortfall(self, end: Position) -> str:
        """What to say of an epoch with this end that has far fewer rows than it is to have."""
        wanted, rows = self.delivery.epoch_rows, self.order.done_rows + end.row
        if wanted is None or wanted - rows <= self.delivery.batch_size:
            return ""
        return (
            f"train_config.num_samples is {wanted:,}, but the epoch ended with the training "
            f"files, after {rows:,} rows"
        )

    def lack(self) -> DataError:
        """Why an epoch gave no batch."""
        file = self.source.files[0]
        if not self.quality.num_rows:
            return DataError(f"{file}: the training files hold no rows; check train_input_path")
        return DataError(
            f"{file}: the training files hold {self.quality.num_rows:,} rows, fewer than a batch "
            f"of {self.delivery.batch_size:,}, and drop_remainder leaves the last batch out"
        )

    def _read(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        """The rest of the current order."""
        with closing(self._batches(since)) as batches:
            if not self.delivery.drop_remainder:
                yield from batches
                return
            yield from without_remainder(batches, self.delivery.batch_size)

    def _batches(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        size, chunk_rows = self.delivery.batch_size, self.order.chunk_rows
        with closing(self._encoded(since)) as encoded:
            for chunk, rows in encoded:
                self.quality.add(rows.tallies, rows.num_rows)
                first = chunk.index * chunk_rows
                done = max(since.row - first, 0)
                for batch in rows.batches(size, done):
                    done += len(batch)
                    place = chunk.after(done)
                    position = Position(since.epoch, first + done, *place)
                    yield batch.pinned() if self.delivery.pin_memory else batch, position
                if self._is_over(Position(since.epoch, first + done)):
                    return

    def _encoded(self, since: Position) -> Iterator[tuple[Chunk, Rows]]:
        """Chunks with their encoded rows, in order, some of them ahead."""
        stream = chunks(self.source, self.order, self.assembler.needed, since)
        encode = partial(self._encode, since)
        if not self.delivery.num_workers:
            yield from ((chunk, encode(chunk)) for chunk in stream)
            return
        with closing(Background(stream, encode, self.delivery.num_workers)) as background:
            yield from background

    def _encode(self, since: Position, chunk: Chunk) -> Rows:
        """A chunk's rows in their order, those after the end of the epoch left out."""
        random = self.order.random(chunk.index, "mask")
        order = self.order.permutation(chunk.index, chunk.rows.num_rows)
        wanted = self._wanted(since, chunk)
        if wanted < chunk.rows.num_rows:
            taken = np.arange(wanted) if order is None else order[:wanted]
            return self.assembler.assemble(chunk.take(taken), random)
        rows = self.assembler.assemble(chunk, random)
        return rows if order is None else rows.permuted(order)

    def _wanted(self, since: Position, chunk: Chunk) -> int:
        """Rows of a chunk up to the end of the batch that ends the epoch, or all."""
        most, size = self.delivery.epoch_rows, self.delivery.batch_size
        if most is None:
            return chunk.rows.num_rows
        first = chunk.index * self.order.chunk_rows
        begin = max(since.row - first, 0)
        lacking = max(most - self.order.done_rows - first - begin, 0)
        return min(begin + -(-lacking // size) * size, chunk.rows.num_rows)


def without_remainder(
    batches: Iterator[tuple[Batch, Position]], size: int
) -> Iterator[tuple[Batch, Position]]:
    """Leave out the last batch if it is not full; the one before it then ends where it did."""
    held: deque[tuple[Batch, Position]] = deque()
    for item in batches:
        held.append(item)
        if len(held) > 2:
            yield held.popleft()
    if held and len(held[-1][0]) < size:
        _, end = held.pop()
        held = deque((batch, end) for batch, _ in held)
    yield from held


class Background:
    """Applies ``encode`` to a stream of chunks in threads, and gives the results in order.

    One thread draws from the stream, ``num_workers`` threads encode; at most ``num_workers`` + 1
    chunks are ahead. What a thread raises is raised where the result is asked for.
    """

    def __init__(
        self, stream: Iterator[Chunk], encode: Callable[[Chunk], Rows], num_workers: int
    ) -> None:
        self._stream = stream
        self._encode = encode
        self._num_workers = num_workers
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="encode")

    def __iter__(self) -> Iterator[tuple[Chunk, Rows]]:
        ahead: deque[Future] = deque()
        while True:
            while len(ahead) <= self._num_workers:
                drawn = self._reader.submit(next, self._stream, None)
                ahead.append(self._pool.submit(self._finish, drawn))
            encoded = ahead.popleft().result()
            if encoded is None:
                return
            yield encoded

    def _finish(self, drawn: Future) -> tuple[Chunk, Rows] | None:
        chunk = drawn.result()
        return None if chunk is None else (chunk, self._encode(chunk))

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)
