"""Chunks, encoded in the background, as a stream of batches with their positions."""

import os.path
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial

import numpy as np
import pyarrow as pa

from tzmmoe.batch import Batch, Position
from tzmmoe.data.encode import Assembler, Rows
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.plan.order import Order, Pass, chunks
from tzmmoe.data.plan.sharing import share
from tzmmoe.data.quality import Quality
from tzmmoe.data.reading.base import Chunk, FileRows, Source
from tzmmoe.errors import DataError


class Loader:
    """Reads a source epoch after epoch.

    The order of the rows depends on the seed, the epoch and the number of processes alone, not on
    ``num_workers``. ``order`` is that of the rows being read; saved with a position, it lets a
    later run read on, also with more files or another batch size. ``quality`` counts what was
    handed out. ``counts``: rows of the files, which several processes need.
    """

    def __init__(
        self,
        source: Source,
        assembler: Assembler,
        delivery: Delivery,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self.source = source
        self.assembler = assembler
        self.delivery = delivery
        self.counts = dict(counts or {})
        self.quality = Quality()
        self.order = self._plan(0)
        self._counted: int | None = None  # rows of an epoch that read all files

    def _plan(self, epoch: int) -> Order:
        files, limit = self.source.files, self.delivery.most_rows
        return Order(epoch, self.delivery.plan(epoch, files, self.counts, limit), files)

    def resume(self, saved: Sequence[tuple[Order, Position]]) -> Position:
        """Read on where the processes of another run stopped; the position to begin at.

        ``saved``: of each of them, its order and position. As many processes go on as if they had
        not stopped; any other number shares out what is left.

        Raises:
            DataError: a file of which rows are still to be read is not named any more.
        """
        world, rank = self.delivery.world, self.delivery.rank
        self._check_named(saved)
        order, position = saved[rank if len(saved) == world else 0]
        named = {os.path.abspath(file): file for file in self.source.files}
        if len(saved) == world:
            self.order = order.renamed(named)
            return position
        orders = [each.renamed(named) for each, _ in saved]
        left = [p for each, (_, at) in zip(orders, saved, strict=True) for p in each.left(at)]
        passes = share(left, self._counts(left), world)[rank] if left else ()
        self.order = Order(order.epoch, passes, orders[0].files)
        consumed = sum(at.row for _, at in saved)
        return Position(order.epoch, row=-(-consumed // world))

    def _counts(self, passes: Sequence[Pass]) -> dict[str, int]:
        """Rows of the files whose spans have no end."""
        open_ended = {span.file for each in passes for span in each.spans if span.end is None}
        return {file: self.counts.get(file) or self.source.num_rows(file) for file in open_ended}

    def _check_named(self, saved: Sequence[tuple[Order, Position]]) -> None:
        named = {os.path.abspath(file) for file in self.source.files}
        for order, position in saved:
            over = self.delivery.ends(position.row)
            for each in () if over else order.left(position):
                missing = [span.file for span in each.spans if span.file not in named]
                if missing:
                    raise DataError(
                        f"{missing[0]}: the checkpoint stands in the middle of an epoch that still "
                        "has to read this file, but --train_input_path does not name it; name it "
                        "too, or start a new model_dir with --fine_tune_checkpoint"
                    )

    def steps(self, num_steps: int | None, num_epochs: int | None) -> int | None:
        """Steps of a run, None where counting the rows of the files would take reading them.

        An epoch that has read them tells. Until then, with ``epoch_rows``, files that do not tell
        their rows are taken to hold enough.
        """
        if num_steps or not num_epochs:
            return num_steps
        size, most = self.delivery.batch_size * self.delivery.world, self.delivery.epoch_rows
        found = [-(-most // size)] if most else []
        counts = [self.counts.get(f, self.source.known_rows(f)) for f in self.source.files]
        rows = self._counted if None in counts else sum(counts)
        if rows is not None:
            found.append(rows // size if self.delivery.drop_remainder else -(-rows // size))
        return min(found) * num_epochs if found else None

    def epoch(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        """The rest of an epoch: batches, each with the position after it.

        Files that the epoch's order does not know, because they were named later, come last.
        """
        if self.order.epoch != since.epoch:
            self.order = self._plan(since.epoch)
        if self.delivery.ends(since.row):
            return
        position = since
        with closing(self._legs(since)) as batches:
            for batch, position in batches:
                yield batch, position
                if self.delivery.ends(position.row):
                    return
        if not since.row:
            self._counted = position.row

    def _legs(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        """The rest of the order's passes, and then of the files that it does not know."""
        leg, at = since.leg, since
        while leg < len(self.order.passes) or self._append_fresh():
            with closing(self._read(at)) as batches:
                for batch, position in batches:
                    at = position
                    yield batch, position
            leg += 1
            at = Position(since.epoch, at.row, leg)

    def _append_fresh(self) -> bool:
        """Let the order end with the files that it does not know; whether there is more to read."""
        known = {os.path.abspath(file) for file in self.order.files}
        fresh = [file for file in self.source.files if os.path.abspath(file) not in known]
        is_full = self.delivery.world > 1 and self.delivery.epoch_rows is not None
        if not fresh or is_full:
            return False
        passes = self.delivery.plan(self.order.epoch, fresh, self.counts)
        files = (*self.order.files, *fresh)
        self.order = Order(self.order.epoch, (*self.order.passes, *passes), files)
        return bool(passes)

    def once(self) -> Iterator[Batch]:
        """All batches of the first epoch; an empty one when there are no rows."""
        empty = True
        for batch, _ in self.epoch(Position()):
            empty = False
            yield batch
        if empty:
            yield self.no_rows()

    def no_rows(self) -> Batch:
        """An empty batch."""
        columns = [pa.nulls(0)] * len(self.assembler.needed)
        rows = pa.RecordBatch.from_arrays(columns, names=self.assembler.needed)
        none = FileRows(self.source.files[0], 0, 0)
        return next(self.assembler.assemble(Chunk(0, rows, (none,))).batches(1))

    def shortfall(self, end: Position) -> str:
        """What to say of an epoch with this end that has far fewer rows than it is to have."""
        wanted = self.delivery.epoch_rows
        rows = end.row if self.delivery.world == 1 else sum(self.counts.values())
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
        """The rest of a pass."""
        with closing(self._batches(since)) as batches:
            if not self.delivery.drop_remainder:
                yield from batches
                return
            yield from without_remainder(batches, self.delivery.batch_size)

    def _batches(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        leg, row = self.order.passes[since.leg], since.row
        with closing(self._encoded(leg, since)) as encoded:
            for chunk, rows in encoded:
                self.quality.add(rows.tallies, rows.num_rows)
                used = leg.used if chunk.index == 0 else 0
                done = leg.consumed(since, chunk.index) - used
                for batch in rows.batches(self.delivery.batch_size, used + done):
                    done += len(batch)
                    row += len(batch)
                    place = (chunk.index, done, *chunk.begin)
                    if used + done == chunk.rows.num_rows:
                        place = (chunk.index + 1, 0, *chunk.then)
                    position = Position(since.epoch, row, since.leg, *place)
                    yield batch.pinned() if self.delivery.pin_memory else batch, position
                if self.delivery.ends(row):
                    return

    def _encoded(self, leg: Pass, since: Position) -> Iterator[tuple[Chunk, Rows]]:
        """Chunks with their encoded rows, in order, some of them ahead."""
        stream = chunks(self.source, leg, self.assembler.needed, since)
        encode = partial(self._encode, leg, since)
        if not self.delivery.num_workers:
            yield from ((chunk, encode(chunk)) for chunk in stream)
            return
        with closing(Background(stream, encode, self.delivery.num_workers)) as background:
            yield from background

    def _encode(self, leg: Pass, since: Position, chunk: Chunk) -> Rows:
        """A chunk's rows in their order, those after the end of the epoch left out."""
        random = leg.random(chunk.index, "mask")
        order = leg.permutation(chunk.index, chunk.rows.num_rows)
        wanted = self._wanted(leg, since, chunk)
        if wanted < chunk.rows.num_rows:
            taken = np.arange(wanted) if order is None else order[:wanted]
            return self.assembler.assemble(chunk.take(taken), random)
        rows = self.assembler.assemble(chunk, random)
        return rows if order is None else rows.permuted(order)

    def _wanted(self, leg: Pass, since: Position, chunk: Chunk) -> int:
        """Rows of a chunk up to the end of the batch that ends the epoch, or all."""
        most, size = self.delivery.epoch_rows, self.delivery.batch_size
        if most is None or self.delivery.world > 1:  # whose passes end there
            return chunk.rows.num_rows
        begin, row = leg.consumed(since, chunk.index), since.row
        if chunk.index > since.chunk:
            ahead = (chunk.index - since.chunk) * leg.chunk_rows
            row += ahead - leg.consumed(since, since.chunk)
        return min(begin + -(-max(most - row, 0) // size) * size, chunk.rows.num_rows)


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
