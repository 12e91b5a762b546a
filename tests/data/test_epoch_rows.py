"""Epochs of a given number of rows. Shows S0.60 of the checklist, as far as the data goes."""

import numbered
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered import Memory, flat, loader, read, saved

from tzmmoe.batch import Position
from tzmmoe.errors import DataError

COUNTS = st.lists(st.integers(0, 20), min_size=1, max_size=4).filter(any)


@settings(deadline=None, max_examples=60)
@given(
    counts=COUNTS,
    size=st.integers(1, 7),
    epoch_rows=st.integers(1, 70),
    shuffle=st.booleans(),
    drop=st.booleans(),
    num_workers=st.sampled_from([0, 2]),
)
def test_an_epoch_is_the_first_batches_that_hold_so_many_rows_or_all(
    counts, size, epoch_rows, shuffle, drop, num_workers
) -> None:
    changes = {"batch_size": size, "shuffle": shuffle, "drop_remainder": drop}
    whole, part = (
        loader(Memory(counts), **changes, num_workers=num_workers, epoch_rows=rows)
        for rows in (None, epoch_rows)
    )
    wanted = -(-epoch_rows // size)
    for epoch in range(3):
        first = [rows for rows, _ in read(whole, Position(epoch))][:wanted]
        assert [rows for rows, _ in read(part, Position(epoch))] == first
        assert part.steps(None, 3) == 3 * len(first)


@settings(deadline=None, max_examples=60)
@given(
    counts=COUNTS,
    epoch_rows=st.integers(1, 60),
    shuffle=st.booleans(),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    data=st.data(),
)
def test_an_epoch_that_was_left_at_any_batch_ends_where_it_would_have(
    counts, epoch_rows, shuffle, sizes, data
) -> None:
    """Also at its end. With another batch size, at the batch that reaches the rows."""
    first = loader(Memory(counts), batch_size=sizes[0], shuffle=shuffle, epoch_rows=epoch_rows)
    batches = read(first)
    position = batches[data.draw(st.integers(1, len(batches))) - 1][1]
    second = loader(Memory(counts), batch_size=sizes[1], shuffle=shuffle, epoch_rows=epoch_rows)
    second.resume(saved(first), position)
    left = read(second, position)
    assert min(epoch_rows, sum(counts)) <= position.row + len(flat(left))
    before_last = left[-2][1].row if len(left) > 1 else position.row if left else 0
    assert before_last < epoch_rows
    if sizes[0] == sizes[1]:
        assert [*batches[: len(batches) - len(left)], *left] == batches
        assert read(second, Position(1)) == read(first, Position(1))


@pytest.mark.parametrize(("epoch_rows", "left"), [(20, 0), (22, 4), (31, 12), (99, 25)])
def test_rows_of_files_that_were_read_before_count_in_the_same_epoch(
    tmp_path, epoch_rows, left
) -> None:
    """20 rows were read of files that end there, and 25 come with files that are named later; the
    run stops once more among them."""
    files = numbered.write_parquet(tmp_path, [12, 8, 18, 7])
    first = loader(files[:2], epoch_rows=epoch_rows)
    end = read(first)[-1][1]
    second = loader(files, epoch_rows=epoch_rows)
    second.resume(saved(first), end)
    found = read(second, end)
    assert flat(found) == list(range(20, 20 + left))
    for rows, position in found:
        third = loader(files, epoch_rows=epoch_rows)
        third.resume(saved(second), position)
        assert flat(read(third, position)) == list(range(rows[-1] + 1, 20 + left))


def test_an_epoch_that_is_over_needs_its_unread_files_no_more(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [8, 8, 8])
    first = loader(files, epoch_rows=8)
    end = read(first)[-1][1]
    second = loader(files[2:], epoch_rows=8)
    second.resume(saved(first), end)
    assert read(second, end) == []
    assert flat(read(second, Position(1))) == list(range(16, 24))
    with pytest.raises(DataError, match=r"still has to read this file"):
        loader(files[2:], epoch_rows=9).resume(saved(first), end)


def test_steps_of_files_that_do_not_tell_their_rows_are_those_wanted(tmp_path) -> None:
    files = numbered.write_csv(tmp_path, [7, 8])
    assert loader(files).steps(None, 3) is None
    assert loader(files, epoch_rows=9).steps(None, 3) == 9
    assert loader(files, epoch_rows=9).steps(5, None) == 5


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("epoch_rows", [None, 9, 99])
def test_an_epoch_that_read_such_files_to_their_end_tells_the_steps(
    tmp_path, epoch_rows, drop
) -> None:
    made = loader(numbered.write_csv(tmp_path, [7, 8]), epoch_rows=epoch_rows, drop_remainder=drop)
    count = len(read(made))
    assert made.steps(None, 3) == 3 * count
    assert made.steps(5, None) == 5


@pytest.mark.parametrize(("epoch_rows", "told"), [(None, ""), (24, ""), (25, "25"), (5000, "5,0")])
def test_an_epoch_that_lacks_more_than_a_batch_says_both_numbers(epoch_rows, told) -> None:
    made = loader(Memory([13, 7]), epoch_rows=epoch_rows)
    end = read(made)[-1][1]
    line = made.shortfall(end)
    assert bool(line) == bool(told)
    if told:
        assert f"num_samples is {told}" in line
        assert "after 20 rows" in line
