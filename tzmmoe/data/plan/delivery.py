"""How a loader orders rows, and cuts them into batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tzmmoe.data.plan.order import Pass, Span, sequence
from tzmmoe.data.plan.sharing import share

UNSHUFFLED_ROWS = 1 << 14  # rows of a chunk when nothing is shuffled, rounded to whole batches


@dataclass(frozen=True)
class Delivery:
    """How rows are ordered, cut into batches and handed over.

    With ``epoch_rows`` an epoch ends after as many batches as hold them, or with the data. Process
    ``rank`` of ``world`` gets its part of the rows, or of the first ``cut`` ones; the i-th batches
    of all make the global one.
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
        """Whether an epoch is over after so many rows, whatever the files still hold."""
        return self.world == 1 and self.epoch_rows is not None and rows >= self.epoch_rows

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk: the window of the shuffle, in whole batches."""
        if self.shuffle:
            return self.batch_size * self.shuffle_batches
        return self.batch_size * max(1, UNSHUFFLED_ROWS // self.batch_size)

    @property
    def most_rows(self) -> int | None:
        """Of an epoch, in all processes: ``cut``, or ``epoch_rows`` in their whole batches."""
        size = self.batch_size * self.world
        if self.cut is not None:
            return self.cut
        return None if self.epoch_rows is None else -(-self.epoch_rows // size) * size

    def plan(
        self, epoch: int, files: Sequence[str], counts: Mapping[str, int], limit: int | None = None
    ) -> tuple[Pass, ...]:
        """What this process reads of the files. ``counts``: their rows, for several processes."""
        names = sequence(epoch, files, shuffle=self.shuffle, seed=self.seed)
        spans = tuple(map(Span, names))
        whole = Pass(epoch, spans, self.shuffle, self.seed, self.chunk_rows)
        if self.world == 1:
            return (whole,)
        return share([whole], counts, self.world, limit)[self.rank]
