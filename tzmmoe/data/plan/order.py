"""The order in which an epoch's rows are read, as chunks: a pure function of what it names."""

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from tzmmoe.batch import Position
from tzmmoe.data.reading.base import Chunk, FileRows, Source
from tzmmoe.errors import DataError


@dataclass(frozen=True)
class Span:
    """Rows of a file, from ``begin`` to before ``end``; None: to its end, wherever that is."""

    file: str
    begin: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Pass:
    """Spans that are read one after the other and cut into chunks of ``chunk_rows`` rows.

    With ``shuffle`` the rows within a chunk are permuted. ``part`` sets the randomness of one of
    several processes apart. A pass that is the rest of another one goes on in its numbers: its
    first chunk is the other's ``first_chunk``, of which ``used`` rows are consumed.
    """

    epoch: int
    spans: tuple[Span, ...]
    shuffle: bool
    seed: int
    chunk_rows: int
    part: int | None = None
    first_chunk: int = 0
    used: int = 0

    def permutation(self, chunk: int, num_rows: int) -> np.ndarray | None:
        """The order of a chunk's rows, or None when they stay."""
        if not self.shuffle:
            return None
        return self.random(chunk, "rows").permutation(num_rows)

    def random(self, chunk: int, use: str) -> np.random.Generator:
        """Randomness of one chunk for one use."""
        part = [] if self.part is None else [self.part]
        words = [self.seed, self.epoch, self.first_chunk + chunk, *part, *use.encode()]
        return np.random.default_rng(words)

    def consumed(self, since: Position, chunk: int) -> int:
        """Rows of a chunk that are consumed at a position."""
        done = since.done if chunk == since.chunk else 0
        return done + (self.used if chunk == 0 else 0)

    def left(self, since: Position) -> "Pass":
        """What is to be read after a position in this pass."""
        spans = list(self.spans[since.span :])
        if spans:
            spans[0] = replace(spans[0], begin=spans[0].begin + since.span_row)
        used = self.consumed(since, since.chunk)
        return replace(
            self, spans=tuple(spans), first_chunk=self.first_chunk + since.chunk, used=used
        )


@dataclass(frozen=True)
class Order:
    """What one process reads of an epoch: passes, one after the other.

    ``files`` are those that the epoch knows, whoever reads them.
    """

    epoch: int
    passes: tuple[Pass, ...]
    files: tuple[str, ...]

    def to_json(self) -> dict:
        """With absolute paths, so that a later run may start elsewhere."""
        value = asdict(self)
        value["files"] = [os.path.abspath(file) for file in self.files]
        for each in value["passes"]:
            each["spans"] = [
                [os.path.abspath(span["file"]), span["begin"], span["end"]]
                for span in each["spans"]
            ]
        return value

    @classmethod
    def from_json(cls, value: dict) -> "Order":
        passes = [
            Pass(**{**each, "spans": tuple(Span(*span) for span in each["spans"])})
            for each in value["passes"]
        ]
        return cls(value["epoch"], tuple(passes), tuple(value["files"]))

    def left(self, since: Position) -> tuple[Pass, ...]:
        """What is to be read after a position."""
        if since.leg >= len(self.passes):
            return ()
        return (self.passes[since.leg].left(since), *self.passes[since.leg + 1 :])

    def renamed(self, names: Mapping[str, str]) -> "Order":
        """With other names for its files; those that ``names`` lacks stay."""
        passes = [
            replace(
                each, spans=tuple(replace(s, file=names.get(s.file, s.file)) for s in each.spans)
            )
            for each in self.passes
        ]
        return replace(self, passes=tuple(passes), files=tuple(names.get(f, f) for f in self.files))


def sequence(epoch: int, files: Sequence[str], *, shuffle: bool, seed: int) -> list[str]:
    """The files in the order of an epoch, permuted if ``shuffle``."""
    if not shuffle:
        return list(files)
    generator = np.random.default_rng([seed, epoch])
    return [files[place] for place in generator.permutation(len(files))]


def chunks(source: Source, order: Pass, columns: Sequence[str], since: Position) -> Iterator[Chunk]:
    """The chunks of a pass, from the one that ``since`` names on.

    Raises:
        DataError: a file with fewer rows than its span.
    """
    index, begin = since.chunk, (since.span, since.span_row)
    file_rows: list[FileRows] = []
    batches: list[pa.RecordBatch] = []
    gathered = 0
    for place in range(since.span, len(order.spans)):
        span, row = order.spans[place], since.span_row if place == since.span else 0
        for batch, is_last in _marked(_read(source, span, columns, row)):
            while batch.num_rows:
                taken = batch.slice(0, order.chunk_rows - gathered)
                batches.append(taken)
                file_rows.append(FileRows(span.file, span.begin + row, taken.num_rows))
                gathered += taken.num_rows
                row += taken.num_rows
                batch = batch.slice(taken.num_rows)
                if gathered == order.chunk_rows:
                    is_read = is_last and not batch.num_rows
                    then = (place + 1, 0) if is_read else (place, row)
                    yield Chunk(index, _join(batches, file_rows), tuple(file_rows), begin, then)
                    index, begin, file_rows, batches, gathered = index + 1, then, [], [], 0
    if gathered:
        then = (len(order.spans), 0)
        yield Chunk(index, _join(batches, file_rows), tuple(file_rows), begin, then)


def _read(source: Source, span: Span, columns: Sequence[str], row: int) -> Iterator[pa.RecordBatch]:
    """The rows of a span after its first ``row``."""
    if span.end is None:
        yield from source.read(span.file, columns, span.begin + row)
        return
    wanted = span.end - span.begin - row
    if not wanted:
        return
    for batch in source.read(span.file, columns, span.begin + row):
        taken = batch.slice(0, wanted)
        wanted -= taken.num_rows
        yield taken
        if not wanted:
            return
    raise DataError(
        f"{span.file}: ends after {span.end - wanted:,} rows, but had {span.end:,} when its rows "
        "were shared out; it was changed meanwhile"
    )


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


def _join(batches: list[pa.RecordBatch], file_rows: list[FileRows]) -> pa.RecordBatch:
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
        first, last = file_rows[0].path, file_rows[-1].path
        raise DataError(f"{first} and {last} store a column differently: {error}") from error
