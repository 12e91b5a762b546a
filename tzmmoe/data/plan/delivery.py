"""How a loader orders rows and cuts them into batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tzmmoe.data.plan.lanes import LANES, Lanes
from tzmmoe.data.plan.order import Pass, sequence
from tzmmoe.data.plan.sharing import share
from tzmmoe.data.plan.span import Span

UNSHUFFLED_ROWS = 1 << 14  # rows of a chunk without shuffling, rounded to whole batches


@dataclass(frozen=True)
class Delivery:
    """How rows are ordered, cut into batches and delivered to the model.

    ``epoch_rows``: an epoch ends with the batch that reaches this number, or with the data. Process
    ``rank`` of ``world`` gets its share of all rows, or of the first ``cut`` rows; the i-th batches
    of all processes make up the i-th global batch.
    """

    batch_size: int
    shuffle: bool
    shuffle_batches: int
    drop_remainder: bool
    num_workers: int
    pin_memory: bool
    seed: int
    epoch_rows: int | None = None
    rank: int = 0
    world: int = 1
    cut: int | None = None

    def ends(self, rows: int) -> bool:
        """Whether an epoch ends after ``rows`` rows even if the files have more."""
        return self.world == 1 and self.epoch_rows is not None and rows >= self.epoch_rows

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk, in whole batches; shuffling permutes the rows within one."""
        if self.shuffle:
            return self.batch_size * self.shuffle_batches
        return self.batch_size * max(1, UNSHUFFLED_ROWS // self.batch_size)

    @property
    def most_rows(self) -> int | None:
        """Most rows of an epoch in all processes: ``cut``, or ``epoch_rows`` in whole batches."""
        size = self.batch_size * self.world
        if self.cut is not None:
            return self.cut
        return None if self.epoch_rows is None else -(-self.epoch_rows // size) * size

    def plan(
        self, epoch: int, files: Sequence[str], counts: Mapping[str, int], limit: int | None = None
    ) -> tuple[Pass, ...]:
        """The passes of this process over the files.

        ``counts``: the rows of each file, needed to shuffle and with several processes. ``limit``:
        divide only the first so many rows among them.
        """
        ordered = sequence(epoch, files, shuffle=self.shuffle, seed=self.seed)
        spans, lanes = tuple(map(Span, ordered)), 1
        if self.shuffle:
            spans = tuple(Span(file, 0, counts[file]) for file in ordered if counts[file])
            lanes = min(LANES, self.chunk_rows)
        whole = Pass(epoch, spans, self.shuffle, self.seed, self.chunk_rows, lanes=lanes)
        if lanes > 1:
            spans = Lanes(spans, lanes, self.chunk_rows).rotated(whole.random(0, "lanes"))
            whole = replace(whole, spans=spans)
        if self.world == 1:
            return (whole,)
        if lanes > 1 and limit is not None:
            # Of each lane as much: the first rows of the files need not be like the others.
            whole = replace(whole, spans=Lanes(spans, lanes, self.chunk_rows).first(limit))
        return share([whole], counts, self.world, limit)[self.rank]
