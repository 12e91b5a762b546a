"""From any position, exactly the remaining rows are read."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numbered
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails
from numbered import COUNTS, KINDS, flat, folder, loader, read, saved, small_chunks

from tzmmoe.batch import Position
from tzmmoe.errors import DataError


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
def test_any_position_leads_to_exactly_the_remaining_rows(
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
        second.resume(saved(first, position), done)
        totals = second.steps(None, 1), second.steps(None, 3)
        left = read(second, position)
    assert flat(left) == flat(batches[done:])
    if sizes[0] == sizes[1]:
        assert left == batches[done:]
        assert totals[0] == len(batches) or (
            totals[0] is None and kind != "parquet" and not shuffle
        )
        assert totals[1] == (3 * len(batches) if kind == "parquet" else None)


def test_a_run_may_stop_and_go_on_after_every_batch(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [23, 41, 9])
    whole = read(loader(files, shuffle=True))
    position, found = Position(), []
    first = loader(files, shuffle=True)
    state = saved(first, position)
    for _ in whole:
        made = loader(files, shuffle=True)
        batch, position = next(made.epoch(made.resume(state)))
        state = saved(made, position)
        found.append((numbered.rows(batch), position))
    assert found == whole


def test_settings_that_change_hold_from_the_next_epoch_on(tmp_path) -> None:
    """The epoch that was begun ends in its own order, whatever shuffle and seed say now."""
    files = numbered.write_parquet(tmp_path, [40])
    first = loader(files, shuffle=True, seed=1)
    batches = read(first)
    second = loader(files, shuffle=False, seed=2)
    second.resume(saved(first, batches[2][1]))
    assert read(second, batches[2][1]) == batches[3:]
    assert flat(read(second, Position(1))) == list(range(40))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("done", [2, 100])
def test_files_that_are_added_later_come_last_and_no_row_is_read_twice(
    tmp_path, kind, shuffle, done
) -> None:
    """Stopped in the middle, or at the end of the epoch."""
    files = KINDS[kind](tmp_path, [20, 13, 17, 11])
    first = loader(files[:2], shuffle=shuffle)
    batches = read(first)[:done]
    second = loader([files[3], *files[:3]], shuffle=shuffle)
    second.resume(saved(first, batches[-1][1]), len(batches))
    total = second.steps(None, 1)
    left = read(second, batches[-1][1])
    is_known = kind == "parquet" or shuffle
    assert total == (len(batches) + len(left) if is_known else None)
    assert Counter(flat(batches) + flat(left)) == Counter(range(61))
    assert sorted((flat(batches) + flat(left))[:33]) == list(range(33)), "known files come first"
    third = loader(files, shuffle=shuffle)
    third.resume(saved(second, left[-1][1]), 99)
    assert third.steps(None, 1) == 99, "nothing is left"
    assert read(third, left[-1][1]) == [], "what was read later counts as read too"
    assert sorted(flat(read(third, Position(1)))) == list(range(61))


def test_a_stop_among_the_added_files_is_resumed_like_any_other(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [10, 30, 5])
    first = loader(files[:1])
    end = read(first)[-1][1]
    second = loader(files[:2])
    second.resume(saved(first, end))
    begun = list(islice(second.epoch(end), 3))
    third = loader(files)
    third.resume(saved(second, begun[-1][1]))
    left = flat(read(third, begun[-1][1]))
    assert left == list(range(10 + 12, 45))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_dropped_while_rows_of_it_are_unread_is_an_error(tmp_path, kind) -> None:
    files = KINDS[kind](tmp_path, [10, 30, 5])
    first = loader(files)
    batches = read(first)
    for position in (batches[0][1], batches[5][1]):
        second = loader(files[:1])
        with fails(DataError, files[1], "train_input_path", "add it", "--fine_tune_checkpoint"):
            second.resume(saved(first, position))
    at_end = loader(files[:1])
    at_end.resume(saved(first, batches[-1][1]), len(batches))
    if kind == "parquet":
        assert at_end.steps(None, 3) == len(batches) + 2 * -(-10 // 4), "the dropped ones were read"
    assert read(at_end, batches[-1][1]) == []


def test_a_file_that_was_read_may_go_while_the_others_are_read(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [12, 8, 8])
    with small_chunks(4):
        first = loader(files)
        batches = read(first)
        Path(files[0]).unlink()
        second = loader(files[1:])
        second.resume(saved(first, batches[2][1]))
        assert read(second, batches[2][1]) == batches[3:]


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_whose_remainder_is_dropped_is_over(tmp_path, shuffle) -> None:
    """Its files need not be named any more, and what was dropped stays dropped."""
    files = numbered.write_parquet(tmp_path, [7, 8, 9])
    first = loader(files[:2], shuffle=shuffle, drop_remainder=True)
    batches = read(first)
    assert len(flat(batches)) == 12
    end = batches[-1][1]
    second = loader(files[2:], shuffle=shuffle, batch_size=2)
    second.resume(saved(first, end))
    assert sorted(flat(read(second, end))) == list(range(15, 24))
