"""The stream of batches: every row once, in one order, from any position on."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numbered
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered import Memory, delivery, flat, loader, read, saved

from tzmmoe.batch import Column, Position
from tzmmoe.data import loader as loader_module
from tzmmoe.data.assemble import Assembler
from tzmmoe.data.base import Chunk, Source
from tzmmoe.data.loader import Loader
from tzmmoe.errors import DataError

COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=4)
KINDS = {
    "parquet": lambda folder, counts: numbered.write_parquet(folder, counts, group=5),
    "csv": numbered.write_csv,
    "gzip csv": lambda folder, counts: numbered.write_csv(folder, counts, suffix=".csv.gz"),
}


@contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def small_chunks(rows: int) -> Iterator[None]:
    """Chunks of a few rows where nothing is shuffled."""
    with mock.patch.object(loader_module, "UNSHUFFLED_ROWS", rows):
        yield


def threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("read", "encode"))]


@settings(deadline=None, max_examples=60)
@given(
    counts=COUNTS,
    group=st.integers(1, 10),
    batch_size=st.integers(1, 9),
    window=st.integers(1, 4),
    num_workers=st.sampled_from([0, 1, 3]),
    shuffle=st.booleans(),
    chunk=st.integers(1, 20),
)
def test_an_epoch_gives_every_row_once(
    counts, group, batch_size, window, num_workers, shuffle, chunk
) -> None:
    with folder() as where, small_chunks(chunk):
        files = numbered.write_parquet(where, counts, group=group)
        made = loader(
            files,
            batch_size=batch_size,
            shuffle=shuffle,
            shuffle_batches=window,
            num_workers=num_workers,
        )
        batches = read(made)
    total = sum(counts)
    assert sorted(flat(batches)) == list(range(total))
    if not shuffle:
        assert flat(batches) == list(range(total))
    sizes = [len(rows) for rows, _ in batches]
    full = [batch_size] * (total // batch_size)
    assert sizes == full + ([total % batch_size] if total % batch_size else [])
    assert [after.row for _, after in batches] == list(np.cumsum(sizes))


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_order_is_the_same_whatever_the_number_of_workers(tmp_path, shuffle) -> None:
    files = numbered.write_parquet(tmp_path, [40, 3, 57])
    with small_chunks(8):
        orders = [read(loader(files, shuffle=shuffle, num_workers=w)) for w in (0, 1, 2, 8)]
    assert all(order == orders[0] for order in orders)


def test_shuffle_permutes_rows_within_its_window_only(tmp_path) -> None:
    """Window by window, the rows are those of the files in the order of the epoch."""
    counts = [37, 5, 61, 20]
    files = numbered.write_parquet(tmp_path, counts)
    starts = dict(zip(files, np.cumsum([0, *counts[:-1]]), strict=True))
    lengths = dict(zip(files, counts, strict=True))
    made = loader(files, shuffle=True, batch_size=4, shuffle_batches=3)
    found = flat(read(made))
    in_order = list(
        chain.from_iterable(
            range(starts[file], starts[file] + lengths[file]) for file in made.order.files
        )
    )
    assert found != in_order
    for first in range(0, sum(counts), 12):
        window = found[first : first + 12]
        assert sorted(window) == sorted(in_order[first : first + 12])
    moved = [
        found[first : first + 12] != in_order[first : first + 12] for first in range(0, 120, 12)
    ]
    assert all(moved), "a window of 12 rows stays as it is once in 479 million times"


def test_shuffle_differs_between_epochs_and_between_seeds(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [30, 30])
    one = [flat(read(loader(files, shuffle=True, seed=1), Position(epoch))) for epoch in range(4)]
    again = [flat(read(loader(files, shuffle=True, seed=1), Position(epoch))) for epoch in range(4)]
    other = [flat(read(loader(files, shuffle=True, seed=2), Position(epoch))) for epoch in range(4)]
    assert one == again
    assert len({tuple(order) for order in one + other}) == 8


def test_one_loader_reads_epoch_after_epoch(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [30, 30])
    made = loader(files, shuffle=True)
    epochs = [flat(read(made, Position(epoch))) for epoch in range(3)]
    alone = [flat(read(loader(files, shuffle=True), Position(epoch))) for epoch in range(3)]
    assert epochs == alone


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(
    counts=COUNTS.filter(any),
    shuffle=st.booleans(),
    chunk=st.integers(1, 20),
    workers=st.tuples(st.sampled_from([0, 2]), st.sampled_from([0, 2])),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    data=st.data(),
)
def test_any_position_leads_to_exactly_the_rows_that_are_left(
    kind, counts, shuffle, chunk, workers, sizes, data
) -> None:
    """In the middle of a chunk or not, by another process, with another batch size."""
    with folder() as where, small_chunks(chunk):
        files = KINDS[kind](where, counts)
        first = loader(files, shuffle=shuffle, batch_size=sizes[0], num_workers=workers[0])
        batches = read(first)
        done = data.draw(st.integers(1, len(batches)))
        position = batches[done - 1][1]
        second = loader(files, shuffle=shuffle, batch_size=sizes[1], num_workers=workers[1])
        second.resume(saved(first), position)
        left = read(second, position)
    assert flat(left) == flat(batches[done:])
    if sizes[0] == sizes[1]:
        assert left == batches[done:]


def test_a_run_may_stop_and_go_on_after_every_batch(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [23, 41, 9])
    whole = read(loader(files, shuffle=True))
    position, found = Position(), []
    order = loader(files, shuffle=True).order
    for _ in whole:
        made = loader(files, shuffle=True)
        made.resume(order, position)
        batch, position = next(made.epoch(position))
        order = saved(made)
        found.append((numbered.rows(batch), position))
    assert found == whole


def test_settings_that_change_hold_from_the_next_epoch_on(tmp_path) -> None:
    """The epoch that was begun ends in its own order, whatever shuffle and seed say now."""
    files = numbered.write_parquet(tmp_path, [40])
    first = loader(files, shuffle=True, seed=1)
    batches = read(first)
    second = loader(files, shuffle=False, seed=2)
    second.resume(saved(first), batches[2][1])
    assert read(second, batches[2][1]) == batches[3:]
    assert flat(read(second, Position(1))) == list(range(40))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("done", [2, 100])
def test_files_that_are_named_later_are_read_after_and_none_twice(
    tmp_path, kind, shuffle, done
) -> None:
    """Stopped in the middle, or at the end of the epoch."""
    files = KINDS[kind](tmp_path, [20, 13, 17, 11])
    first = loader(files[:2], shuffle=shuffle)
    batches = read(first)[:done]
    second = loader([files[3], *files[:3]], shuffle=shuffle)
    second.resume(saved(first), batches[-1][1])
    left = read(second, batches[-1][1])
    assert Counter(flat(batches) + flat(left)) == Counter(range(61))
    assert sorted((flat(batches) + flat(left))[:33]) == list(range(33)), "known files come first"
    third = loader(files, shuffle=shuffle)
    third.resume(saved(second), left[-1][1])
    assert read(third, left[-1][1]) == [], "what was read later counts as read, too"
    assert sorted(flat(read(third, Position(1)))) == list(range(61))


def test_a_stop_among_the_files_that_were_named_later_is_resumed_like_any_other(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [10, 30, 5])
    first = loader(files[:1])
    end = read(first)[-1][1]
    second = loader(files[:2])
    second.resume(saved(first), end)
    begun = list(islice(second.epoch(end), 3))
    third = loader(files)
    third.resume(saved(second), begun[-1][1])
    left = flat(read(third, begun[-1][1]))
    assert left == list(range(10 + 12, 45))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_named_any_more_while_rows_of_it_are_unread_is_an_error(
    tmp_path, kind
) -> None:
    files = KINDS[kind](tmp_path, [10, 30, 5])
    first = loader(files)
    batches = read(first)
    for position in (batches[0][1], batches[5][1]):
        second = loader(files[:1])
        with pytest.raises(DataError, match=r"1\.(parquet|csv).*still has to read this file"):
            second.resume(saved(first), position)
    at_end = loader(files[:1])
    at_end.resume(saved(first), batches[-1][1])
    assert read(at_end, batches[-1][1]) == []


def test_a_file_that_was_read_may_go_while_the_others_are_read(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [12, 8, 8])
    with small_chunks(4):
        first = loader(files)
        batches = read(first)
        Path(files[0]).unlink()
        second = loader(files[1:])
        second.resume(saved(first), batches[2][1])
        assert read(second, batches[2][1]) == batches[3:]


@settings(deadline=None, max_examples=40)
@given(counts=COUNTS, batch_size=st.integers(1, 9), chunk=st.integers(1, 20), shuffle=st.booleans())
def test_drop_remainder_leaves_out_the_last_batch_when_it_is_not_full(
    counts, batch_size, chunk, shuffle
) -> None:
    with small_chunks(chunk):
        source = Memory(counts)
        kept, dropped = (
            read(loader(source, batch_size=batch_size, shuffle=shuffle, drop_remainder=drop))
            for drop in (False, True)
        )
    full = sum(counts) // batch_size
    assert [rows for rows, _ in dropped] == [rows for rows, _ in kept[:full]]


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_whose_remainder_is_dropped_is_over(tmp_path, shuffle) -> None:
    """Its files need not be named any more, and what was dropped stays dropped."""
    files = numbered.write_parquet(tmp_path, [7, 8, 9])
    first = loader(files[:2], shuffle=shuffle, drop_remainder=True)
    batches = read(first)
    assert len(flat(batches)) == 12
    end = batches[-1][1]
    second = loader(files[2:], shuffle=shuffle, batch_size=2)
    second.resume(saved(first), end)
    assert sorted(flat(read(second, end))) == list(range(15, 24))


def test_steps_are_counted_ahead_where_the_files_tell_their_rows(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [7, 8])
    assert loader(files).steps(None, 3) == 12
    assert loader(files, drop_remainder=True).steps(None, 3) == 9
    assert loader(files).steps(5, None) == 5
    assert loader(numbered.write_csv(tmp_path, [7, 8])).steps(None, 3) is None


def test_one_pass_over_no_rows_gives_one_empty_batch(tmp_path) -> None:
    """So that predictions of an empty file are a file with the right columns."""
    files = numbered.write_parquet(tmp_path, [0])
    assert [numbered.rows(batch) for batch in loader(files).once()] == [[]]


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
        with pytest.raises(DataError, match="file0: cannot be read: it is torn"):
            next(stream)
    assert threads() == []


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_a_bad_value_is_told_with_its_file_and_row(tmp_path, num_workers) -> None:
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
    message = str(caught.value)
    assert f"{files[1]}, row 6, column 'click'" in message
    assert "7" in message
    assert threads() == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_column_of_a_type_that_cannot_be_used_is_told_with_its_file(
    tmp_path, num_workers
) -> None:
    file = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"row": [1, 2], "click": [[0], [1]]}), file)
    assembler = Assembler([], [Column("click", "label", 0.0, 1.0)], reserved=["row"])
    made = Loader(numbered.source([file]), assembler, delivery(num_workers=num_workers))
    with pytest.raises(
        DataError, match=r"a\.parquet, column 'click' \(label\): list<.*give numbers"
    ):
        numbered.read(made)


class Slow(Assembler):
    """Takes longer for some chunks than for others."""

    def assemble(self, chunk: Chunk, random: np.random.Generator | None = None):
        time.sleep(0.01 if chunk.index % 3 == 0 else 0)
        return super().assemble(chunk, random)


def test_batches_keep_their_order_when_later_chunks_are_ready_earlier() -> None:
    source: Source = Memory([200])
    with small_chunks(8):
        made = Loader(source, Slow([], [], reserved=["row"]), delivery(num_workers=4))
        assert flat(read(made)) == list(range(200))


def test_values_are_counted_over_the_rows_that_were_handed_out(tmp_path) -> None:
    with small_chunks(8):
        made = loader(Memory([30]))
        stream = made.epoch(Position())
        for _ in range(3):
            next(stream)
        assert made.quality.num_rows == 16, "of all the chunks that were begun"
        for _ in stream:
            pass
        assert made.quality.num_rows == 30
