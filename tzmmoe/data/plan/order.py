"""The order of an epoch's rows: spans of files, interleaved and cut into chunks.

It is a pure function of files, their numbers of rows, seed, epoch and chunk size, so a position is
all that a resumed run needs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from tzmmoe.batch import Position
from tzmmoe.data.plan.lanes import Lanes
from tzmmoe.data.plan.shelf import Shelf
from tzmmoe.data.plan.span import Span
from tzmmoe.data.reading.base import Chunk, FileRows, Source
from tzmmoe.data.reading.parts import parts
from tzmmoe.system.localpath import absolute


@dataclass(frozen=True)
class Pass:
    """Spans that are read one after another and cut into chunks of ``chunk_rows`` rows.

    With several ``lanes`` all spans have ends, and each chunk takes rows of all lanes; its begin
    then follows from its number, so a position's span and row do not count.

    ``shuffle`` permutes the rows within a chunk. ``part`` gives each of several processes random
    numbers of its own. A pass may be the remainder of another: its first chunk then has the number
    ``first_chunk`` in the original, and ``used`` of that chunk's rows are already consumed.
    """

    epoch: int
    spans: tuple[Span, ...]
    shuffle: bool
    seed: int
    chunk_rows: int
    part: int | None = None
    first_chunk: int = 0
    used: int = 0
    lanes: int = 1

    def permutation(self, chunk: int, num_rows: int) -> np.ndarray | None:
        """The order of a chunk's rows; None: as they are read."""
        if not self.shuffle:
            return None
        return self.random(chunk, "rows").permutation(num_rows)

    def random(self, chunk: int, use: str) -> np.random.Generator:
        """A generator for one chunk and one ``use`` of random numbers.

        A chunk goes by its number in the original pass, so a resumed epoch draws the same.
        """
        part = [] if self.part is None else [self.part]
        entropy = [self.seed, self.epoch, self.first_chunk + chunk, *part, *use.encode()]
        return np.random.default_rng(entropy)

    def consumed(self, since: Position, chunk: int) -> int:
        """How many rows of a chunk are already consumed at a position."""
        # ``done`` counts what this pass has delivered; ``used`` is what the original had before.
        done = since.done if chunk == since.chunk else 0
        return done + (self.used if chunk == 0 else 0)

    def left(self, since: Position) -> tuple["Pass", ...]:
        """The remainder of this pass after a position."""
        used = self.consumed(since, since.chunk)
        number = self.first_chunk + since.chunk
        if self.lanes > 1:
            lanes = Lanes(self.spans, self.lanes, self.chunk_rows)
            head = tuple(lanes.stretches(since.chunk)) if used else ()
            tail = lanes.rest(since.chunk + bool(used))
            whole = replace(self, spans=head, first_chunk=number, used=used, lanes=1)
            rest = replace(self, spans=tail, first_chunk=number + bool(used), used=0)
            return tuple(leg for leg in (whole, rest) if leg.spans)
        spans = list(self.spans[since.span :])
        if spans:
            # To the row where the current chunk begins, not to the position: the chunk's rows are
            # permuted, so the whole chunk is needed to know which of them are left.
            spans[0] = replace(spans[0], begin=spans[0].begin + since.span_row)
        return (replace(self, spans=tuple(spans), first_chunk=number, used=used),)

    def rows_left(self, since: Position, rows_of: Callable[[str], int | None]) -> int | None:
        """The rows after a position; None if a span has no end and its file's rows are unknown."""
        rest = self.left(since)
        ends = [(s, rows_of(s.file) if s.end is None else s.end) for leg in rest for s in leg.spans]
        if any(end is None for _, end in ends):
            return None
        return sum(end - span.begin for span, end in ends) - sum(leg.used for leg in rest)


@dataclass(frozen=True)
class Order:
    """What one process reads in an epoch: passes, one after another.

    ``files``: all files of the epoch, whichever process reads them.
    """

    epoch: int
    passes: tuple[Pass, ...]
    files: tuple[str, ...]

    def to_json(self) -> dict:
        """For a checkpoint: with absolute paths, so that a run can resume in another directory."""
        value = asdict(self)
        value["files"] = [absolute(file) for file in self.files]
        for leg in value["passes"]:
            leg["spans"] = [
                [absolute(span["file"]), span["begin"], span["end"]] for span in leg["spans"]
            ]
        return value

    @classmethod
    def from_json(cls, value: dict) -> "Order":
        passes = [
            Pass(**{**leg, "spans": tuple(Span(*span) for span in leg["spans"])})
            for leg in value["passes"]
        ]
        return cls(value["epoch"], tuple(passes), tuple(value["files"]))

    def left(self, since: Position) -> tuple[Pass, ...]:
        """The passes that remain after a position."""
        if since.leg >= len(self.passes):
            return ()
        return (*self.passes[since.leg].left(since), *self.passes[since.leg + 1 :])

    def rows_left(self, since: Position, rows_of: Callable[[str], int | None]) -> list[int | None]:
        """As ``Pass.rows_left``, of each pass that remains after a position."""
        here = replace(since, leg=0)
        later = Position(since.epoch)
        passes = self.passes[since.leg :]
        return [leg.rows_left(later if n else here, rows_of) for n, leg in enumerate(passes)]

    def renamed(self, names: Mapping[str, str]) -> "Order":
        """The order with other names for its files; files that ``names`` lacks keep theirs."""
        passes = [
            replace(leg, spans=tuple(replace(s, file=names.get(s.file, s.file)) for s in leg.spans))
            for leg in self.passes
        ]
        return replace(self, passes=tuple(passes), files=tuple(names.get(f, f) for f in self.files))


def sequence(epoch: int, files: Sequence[str], *, shuffle: bool, seed: int) -> list[str]:
    """The files in the order of an epoch, permuted if ``shuffle``."""
    if not shuffle:
        return list(files)
    generator = np.random.default_rng([seed, epoch])
    return [files[number] for number in generator.permutation(len(files))]


def chunks(source: Source, order: Pass, columns: Sequence[str], since: Position) -> Iterator[Chunk]:
    """The chunks of a pass, starting with the one in which ``since`` lies.

    Raises:
        DataError: a file has fewer rows than its span.
    """
    if order.lanes > 1:
        yield from _interleaved(source, order, columns, since)
        return
    index, begin = since.chunk, (since.span, since.span_row)
    file_rows: list[FileRows] = []
    batches: list[pa.RecordBatch] = []
    gathered = 0  # rows in ``batches``
    for number in range(since.span, len(order.spans)):
        span, row = order.spans[number], since.span_row if number == since.span else 0
        for batch, is_last in _marked(span.read(source, columns, row)):
            while batch.num_rows:
                taken = batch.slice(0, order.chunk_rows - gathered)
                batches.append(taken)
                file_rows.append(FileRows(span.file, span.begin + row, taken.num_rows, source))
                gathered += taken.num_rows
                row += taken.num_rows
                batch = batch.slice(taken.num_rows)
                if gathered == order.chunk_rows:
                    # A chunk that ends with its span says so: a resumed run then need not open
                    # that file, which may be gone by then.
                    is_read = is_last and not batch.num_rows
                    then = (number + 1, 0) if is_read else (number, row)
                    yield Chunk(index, parts(batches), tuple(file_rows), begin, then)
                    index, begin, file_rows, batches, gathered = index + 1, then, [], [], 0
    if gathered:
        then = (len(order.spans), 0)
        yield Chunk(index, parts(batches), tuple(file_rows), begin, then)


def _interleaved(
    source: Source, order: Pass, columns: Sequence[str], since: Position
) -> Iterator[Chunk]:
    """The chunks of a pass with several lanes."""
    lanes = Lanes(order.spans, order.lanes, order.chunk_rows)
    piece_rows = order.chunk_rows // order.lanes
    with closing(Shelf(source, columns, order.spans, piece_rows)) as shelf:
        for index in range(since.chunk, lanes.num_chunks):
            stretches = lanes.stretches(index)
            batches = (b for s in stretches for b in shelf.read(s.file, s.begin, s.end))
            rows = tuple(FileRows(s.file, s.begin, s.end - s.begin, source) for s in stretches)
            yield Chunk(index, parts(batches), rows)  # kept in no variable while the next is read
            shelf.sweep()


def _marked(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """The batches that have rows, each with whether it is the last one of them."""
    held = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if held is not None:
            yield held, False
        held = batch
    if held is not None:
        yield held, True
