"""A stream of batches with their positions, from chunks that are encoded in the background."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from tzmmoe.batch import Batch, Position
from tzmmoe.data.background import Background
from tzmmoe.data.encode import Assembler, Rows
from tzmmoe.data.passing import passing
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.plan.order import Order, Pass, chunks
from tzmmoe.data.plan.sharing import share
from tzmmoe.data.quality import Quality, QualityByPosition
from tzmmoe.data.reading.base import Chunk, FileRows, Source
from tzmmoe.data.recorded import FilesByPosition
from tzmmoe.errors import DataError
from tzmmoe.system.localpath import absolute, is_frame


class Loader:
    """Reads a source, epoch after epoch.

    The order of rows depends on the seed, the epoch and the number of processes, but not on
    ``num_workers``. ``order`` is the current epoch's; saved with a position, it lets a later run
    resume, even with more files or another batch size. ``quality`` counts the values of encoded
    rows. ``counts``: the rows of each file, needed with several processes; a single one counts them
    itself if it has to.
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
        self.quality_by_position = QualityByPosition()
        self.files_by_position = FilesByPosition()
        self._passing = passing(source, assembler.reserved)
        self._order: Order | None = None
        self._counted: int | None = None  # rows of an epoch, once one has been read to its end
        self._resumed: tuple[int, int, int | None] | None = None  # epoch, steps before and left

    @property
    def order(self) -> Order:
        # Planned when it is asked for: a resumed run has an order, and shuffling counts rows.
        if self._order is None:
            self._order = self._plan(0)
        return self._order

    def _plan(self, epoch: int) -> Order:
        files, limit = self.source.files, self.delivery.most_rows
        return Order(epoch, self._passes(epoch, files, limit), files)

    def _passes(
        self, epoch: int, files: Sequence[str], limit: int | None = None
    ) -> tuple[Pass, ...]:
        counts = self.counts
        if self.delivery.shuffle:
            counts = {file: self._num_rows(file) for file in files}
        return self.delivery.plan(epoch, files, counts, limit)

    def _num_rows(self, file: str) -> int:
        if file not in self.counts:
            self.counts[file] = self.source.num_rows(file)
        return self.counts[file]

    def resume(self, saved: Sequence[tuple[Order, Position]], steps: int = 0) -> Position:
        """Resume where the processes of another run stopped. Returns the position to begin at.

        ``saved``: the order and position of each of those processes, after ``steps`` steps. An
        equal number of processes continue as if they had never stopped; any other number divide the
        remaining rows afresh.

        Raises:
            DataError: a file that still has unread rows is no longer among the source's files.
        """
        self._check_files(saved)
        position = self._divided(saved)
        self._resumed = position.epoch, steps, self._left(position)
        return position

    def _divided(self, saved: Sequence[tuple[Order, Position]]) -> Position:
        world, rank = self.delivery.world, self.delivery.rank
        order, position = saved[rank if len(saved) == world else 0]
        names = {absolute(file): file for file in self.source.files}
        if len(saved) == world:
            self._order = order.renamed(names)
            return position
        rest = [leg for old, stop in saved for leg in old.renamed(names).left(stop)]
        passes = share(rest, self._counts(rest), world)[rank] if rest else ()
        self._order = Order(order.epoch, passes, order.renamed(names).files)
        consumed = sum(stop.row for _, stop in saved)
        return Position(order.epoch, row=-(-consumed // world))

    def _counts(self, passes: Sequence[Pass]) -> dict[str, int]:
        """The rows of the files whose spans have no end yet."""
        open_ended = {span.file for leg in passes for span in leg.spans if span.end is None}
        return {file: self._num_rows(file) for file in open_ended}

    def _check_files(self, saved: Sequence[tuple[Order, Position]]) -> None:
        paths = {absolute(file) for file in self.source.files}
        for order, position in saved:
            is_over = self.delivery.ends(position.row)
            for leg in () if is_over else order.left(position):
                missing = [span.file for span in leg.spans if span.file not in paths]
                if missing and is_frame(missing[0]):
                    raise DataError(
                        f"{missing[0]}: the checkpoint's epoch still has rows of this frame to "
                        "read; pass it, fit(train=frame), or start a new model_dir with "
                        "--fine_tune_checkpoint"
                    )
                if missing:
                    raise DataError(
                        f"{missing[0]}: the checkpoint's epoch still has rows of this file to "
                        "read, but train_input_path does not include it; add it, pass --map_path "
                        "OLD=NEW if it has moved, or start a new model_dir with "
                        "--fine_tune_checkpoint"
                    )

    def steps(self, num_steps: int | None, num_epochs: int | None) -> int | None:
        """The number of steps of a run, which ends at whichever comes first; None if it takes
        reading the files to know.

        Once an epoch has been read, its rows are known. Until then, with ``epoch_rows``, files of
        unknown length are assumed to have enough rows. A resumed run has its earlier steps, the
        rest of the epoch in which it resumed, and those after it.
        """
        of_epochs = self._steps_of(num_epochs) if num_epochs else None
        if num_steps and of_epochs is not None:
            return min(num_steps, of_epochs)
        return of_epochs if num_epochs else num_steps

    def _steps_of(self, num_epochs: int) -> int | None:
        """The number of steps of a run of so many epochs, as ``steps`` describes it."""
        most = self.delivery.epoch_rows
        limits = [self._batches_of(most, part_too=True)] if most else []  # whichever is less
        counts = [self._known(file) for file in self.source.files]
        rows = self._counted if None in counts else sum(counts)
        if rows is not None:
            limits.append(self._batches_of(rows))
        epoch, before, left = self._resumed or (-1, 0, 0)
        later = max(num_epochs - epoch - 1, 0)
        if left is None or (later and not limits):
            return None
        return before + left + (later * min(limits) if later else 0)

    def _left(self, since: Position) -> int | None:
        """The steps from a position to the end of its epoch, if they are known."""
        if self.delivery.ends(since.row):
            return 0
        rows_of = self._num_rows if self.delivery.shuffle else self._known
        planned = {absolute(file) for file in self.order.files}
        new = [rows_of(f) for f in self.source.files if absolute(f) not in planned]
        left = self.order.rows_left(since, rows_of)
        if None in new or None in left:
            return None
        world, most = self.delivery.world, self.delivery.epoch_rows
        steps = sum(map(self._batches_of, (*(rows * world for rows in left), sum(new))))
        if most is None:
            return steps
        return min(steps, self._batches_of(most - since.row * world, part_too=True))

    def _known(self, file: str) -> int | None:
        return self.counts.get(file, self.source.known_rows(file))

    def _batches_of(self, rows: int, *, part_too: bool = False) -> int:
        """How many batches of all processes so many rows make."""
        size = self.delivery.batch_size * self.delivery.world
        drops = self.delivery.drop_remainder and not part_too
        return rows // size if drops else -(-rows // size)

    def epoch(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        """The rest of an epoch after a position: batches, each with the position after it.

        Files that were added since the epoch was planned come last.
        """
        if self.order.epoch != since.epoch:
            self._order = self._plan(since.epoch)
        if self.delivery.ends(since.row):
            return
        position, is_whole = since, not since.row
        with closing(self._legs(since)) as batches:
            for batch, position in batches:
                yield batch, position
                if self.delivery.ends(position.row):
                    return
                # One batch late, since a caller may have asked for one more than it has used.
                self.quality_by_position.until(since)
                self.files_by_position.until(since)
                since = position
        if is_whole:  # so its rows are now known
            self._counted = position.row

    def _legs(self, since: Position) -> Iterator[tuple[Batch, Position]]:
        """The rest of the order's passes, then the files that were added since."""
        leg, at = since.leg, since
        while leg < len(self.order.passes) or self._append_new_files():
            with closing(self._read(at)) as batches:
                for batch, position in batches:
                    at = position
                    yield batch, position
            leg += 1
            at = Position(since.epoch, at.row, leg)

    def _append_new_files(self) -> bool:
        """Append files that the order lacks. Returns whether this process got more to read."""
        planned = {absolute(file) for file in self.order.files}
        new = [file for file in self.source.files if absolute(file) not in planned]
        # Several processes divided exactly epoch_rows rows among them, and have read those by now.
        is_full = self.delivery.world > 1 and self.delivery.epoch_rows is not None
        if not new or is_full:
            return False
        passes = self._passes(self.order.epoch, new)
        files = (*self.order.files, *new)
        self._order = Order(self.order.epoch, (*self.order.passes, *passes), files)
        return bool(passes)

    def once(self) -> Iterator[Batch]:
        """All batches of the first epoch; a single empty batch if there are no rows."""
        is_empty = True
        for batch, _ in self.epoch(Position()):
            is_empty = False
            yield batch
        if is_empty:
            yield self.no_rows()

    def no_rows(self) -> Batch:
        """A batch of 0 rows, for a process that has run out of them."""
        columns = [pa.nulls(0)] * len(self.assembler.needed)
        rows = pa.RecordBatch.from_arrays(columns, names=self.assembler.needed)
        none = FileRows(self.source.files[0], 0, 0)
        empty = self.assembler.assemble(Chunk(0, (rows,), (none,)), passing=self._passing)
        return next(empty.batches(1))

    def shortfall(self, end: Position) -> str:
        """A warning if an epoch that ended at this position has far too few rows, else empty."""
        target = self.delivery.epoch_rows
        rows = end.row if self.delivery.world == 1 else sum(self.counts.values())
        if target is None or target - rows <= self.delivery.batch_size:
            return ""
        return (
            f"train_config.num_samples is {target:,}, but the training files have only {rows:,} "
            "rows; an epoch ends with them"
        )

    def lack(self) -> DataError:
        """The error for an epoch without a single batch."""
        file = self.source.files[0]
        if not self.quality.num_rows:
            return DataError(f"{file}: the training files have no rows; check train_input_path")
        return DataError(
            f"{file}: the training files have {self.quality.num_rows:,} rows, fewer than a batch "
            f"of {self.delivery.batch_size:,}; reduce batch_size, or set drop_remainder: false"
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
                num_rows = sum(part.num_rows for part in chunk.file_rows)
                self.quality.add(rows.tallies, rows.num_rows, rows.missing_labels)
                # ``used`` rows of the chunk were consumed before this pass, ``done`` within it.
                used = leg.used if chunk.index == 0 else 0
                done = leg.consumed(since, chunk.index) - used
                place = Position(since.epoch, row, since.leg, chunk.index, used + done)
                self.quality_by_position.begin(place, rows, chunk)
                self.files_by_position.begin(
                    replace(place, done=done), chunk, used, shuffled=leg.shuffle
                )
                for batch in rows.batches(self.delivery.batch_size, used + done):
                    done += len(batch)
                    row += len(batch)
                    place = (chunk.index, done, *chunk.begin)
                    if used + done == num_rows:
                        place = (chunk.index + 1, 0, *chunk.then)
                    position = Position(since.epoch, row, since.leg, *place)
                    yield batch.pinned() if self.delivery.pin_memory else batch, position
                if self.delivery.ends(row):
                    return

    def _encoded(self, leg: Pass, since: Position) -> Iterator[tuple[Chunk, Rows]]:
        """Chunks with their encoded rows, in order, encoded ahead if there are workers."""
        encode = partial(self._encode, leg, since)
        with closing(chunks(self.source, leg, self.assembler.needed, since)) as stream:
            if not self.delivery.num_workers:
                yield from ((chunk, encode(chunk)) for chunk in stream)
                return
            with closing(Background(stream, encode, self.delivery.num_workers)) as background:
                yield from background

    def _encode(self, leg: Pass, since: Position, chunk: Chunk) -> Rows:
        """The rows of a chunk in the order of the epoch, without those after its end."""
        random = leg.random(chunk.index, "mask")
        order = leg.permutation(chunk.index, chunk.num_rows)
        num_rows = self._rows_of_epoch(leg, since, chunk)
        if num_rows < chunk.num_rows:
            taken = np.arange(num_rows) if order is None else order[:num_rows]
            kept = np.sort(taken)
            rows = self.assembler.assemble(chunk.take(kept), random, self._passing)
            return rows if order is None else rows.permuted(np.searchsorted(kept, taken))
        rows = self.assembler.assemble(chunk, random, self._passing)
        return rows if order is None else rows.permuted(order)

    def _rows_of_epoch(self, leg: Pass, since: Position, chunk: Chunk) -> int:
        """The rows of a chunk up to the end of the batch that ends the epoch, or all of them."""
        most, size = self.delivery.epoch_rows, self.delivery.batch_size
        if most is None or self.delivery.world > 1:  # several processes' passes end there anyway
            return chunk.num_rows
        begin, row = leg.consumed(since, chunk.index), since.row
        if chunk.index > since.chunk:
            # Chunks before this one are full: since.chunk gave what it had left, others all.
            ahead = (chunk.index - since.chunk) * leg.chunk_rows
            row += ahead - leg.consumed(since, since.chunk)
        return min(begin + -(-max(most - row, 0) // size) * size, chunk.num_rows)


def without_remainder(
    batches: Iterator[tuple[Batch, Position]], size: int
) -> Iterator[tuple[Batch, Position]]:
    """The batches without the last one if it is not full.

    The one before it then gets its position, so that a resumed run does not read those rows.
    """
    held: deque[tuple[Batch, Position]] = deque()
    for item in batches:
        held.append(item)
        if len(held) > 2:
            yield held.popleft()
    if held and len(held[-1][0]) < size:
        _, end = held.pop()
        held = deque((batch, end) for batch, _ in held)
    yield from held
