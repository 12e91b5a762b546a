"""The threads that read ahead: only so far, in order, and no longer than the stream is read."""

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import numbered
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from messages import fails, says
from numbered import Memory, delivery, flat, loader, read, small_chunks

from tzmmoe.batch import Column, Position
from tzmmoe.data.background import Background
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.reading.base import Chunk, Source
from tzmmoe.errors import DataError


def threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("read", "encode"))]


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_only_a_few_chunks_are_read_ahead(num_workers) -> None:
    """One is handed out, num_workers + 1 are ahead of it; chunks have 8 rows."""
    with small_chunks(8):
        source = Memory([10_000], size=1)
        made = loader(source, num_workers=num_workers)
        stream = made.epoch(Position())
        for taken in range(1, 40):
            next(stream)
            time.sleep(0.002)
            chunks_begun = -(-taken * 4 // 8)
            assert source.drawn <= 8 * (chunks_begun + num_workers + 1)
        stream.close()


@pytest.mark.parametrize("num_workers", [1, 4])
def test_threads_end_when_the_stream_is_closed(num_workers) -> None:
    with small_chunks(8):
        source = Memory([10_000])
        stream = loader(source, num_workers=num_workers).epoch(Position())
        next(stream)
        assert len(threads()) >= 2
        stream.close()
        assert threads() == []
        drawn = source.drawn
        time.sleep(0.05)
        assert source.drawn == drawn


def test_after_close_no_thread_uses_the_stream_though_its_work_was_forgotten() -> None:
    """A signal may strike between the start of a thread and its entry in the pool's list."""
    inside = threading.Event()

    def slow() -> Iterator[Chunk]:
        inside.set()
        time.sleep(0.2)
        yield from ()

    stream = slow()
    background = Background(stream, lambda chunk: None, 1)
    forgotten = threading.Thread(target=background._read_next)
    forgotten.start()
    inside.wait(60)
    background.close()
    stream.close()
    forgotten.join()
    assert background._read_next() is None


def test_threads_end_with_the_epoch() -> None:
    assert len(flat(read(loader(Memory([100]), num_workers=3)))) == 100
    assert threads() == []


class Closing(Memory):
    """Tells whether the reading of a file was ended."""

    closed = False

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        try:
            yield from super().read(file, columns, skip)
        finally:
            self.closed = True


@pytest.mark.parametrize("num_workers", [0, 2])
def test_files_are_closed_when_the_stream_is_closed(num_workers) -> None:
    with small_chunks(8):
        source = Closing([10_000])
        made = loader(source, num_workers=num_workers)
        stream = made.epoch(Position())
        next(stream)
        assert not source.closed
        stream.close()
        assert source.closed


class Torn(Memory):
    """Fails at row 50 of its only file."""

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        for batch in super().read(file, columns, skip):
            if self.drawn > 50:
                raise DataError(f"{file}: cannot be read: it is torn")
            yield batch


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_an_error_of_reading_comes_after_the_rows_before_it_and_ends_the_threads(
    num_workers,
) -> None:
    """But for the chunk that is not whole when the next record batch, of 3 rows, fails."""
    with small_chunks(8):
        stream = loader(Torn([100]), num_workers=num_workers).epoch(Position())
        seen = [row for batch, _ in islice(stream, 10) for row in numbered.rows(batch)]
        assert seen == list(range(40))
        with fails(DataError, "file0: cannot be read: it is torn"):
            next(stream)
    assert threads() == []


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_a_bad_value_is_reported_with_its_file_and_row(tmp_path, num_workers) -> None:
    """The label 7 stands in row 6 of the second file."""
    tables = [[0] * 30, [1] * 5 + [7] + [0] * 20]
    files = []
    for number, labels in enumerate(tables):
        files.append(str(tmp_path / f"{number}.parquet"))
        pq.write_table(pa.table({"row": range(len(labels)), "click": labels}), files[-1])
    assembler = Assembler([], [Column("click", "label", 0.0, 1.0)], reserved=["row"])
    made = Loader(numbered.source(files), assembler, delivery(num_workers=num_workers))
    with small_chunks(8), pytest.raises(DataError) as caught:
        for _ in made.epoch(Position()):
            pass
    says(caught.value, f"{files[1]}, row 6, column 'click'", " 7 ")
    assert threads() == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_column_of_a_type_that_cannot_be_used_is_reported_with_its_file(
    tmp_path, num_workers
) -> None:
    file = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"row": [1, 2], "click": [[0], [1]]}), file)
    assembler = Assembler([], [Column("click", "label", 0.0, 1.0)], reserved=["row"])
    made = Loader(numbered.source([file]), assembler, delivery(num_workers=num_workers))
    with fails(DataError, "a.parquet, column 'click' (label): list<", "numbers"):
        numbered.read(made)


class Slow(Assembler):
    """Takes longer for some chunks than for others."""

    def assemble(self, chunk: Chunk, *arguments: object, **named: object):
        time.sleep(0.01 if chunk.index % 3 == 0 else 0)
        return super().assemble(chunk, *arguments, **named)


def test_batches_keep_their_order_when_later_chunks_are_ready_earlier() -> None:
    source: Source = Memory([200])
    with small_chunks(8):
        made = Loader(source, Slow([], [], reserved=["row"]), delivery(num_workers=4))
        assert flat(read(made)) == list(range(200))
