"""The stream of batches: every row once an epoch, in one order, in windows of the shuffle."""

import numbered
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered import COUNTS, Memory, flat, folder, loader, read, small_chunks

from tzmmoe.batch import Position


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
