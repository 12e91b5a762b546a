"""Epochs of a given number of rows. Shows S0.60 of the checklist, as far as the data goes."""

from collections.abc import Iterator, Sequence

import numbered
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails, says
from numbered import Memory, delivery, flat, loader, read, saved
from parts import features

from tzmmoe.batch import Column, Position
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.quality import Quality
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.errors import DataError
from tzmmoe.features.shared import Tally

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
    done = data.draw(st.integers(1, len(batches)))
    position = batches[done - 1][1]
    second = loader(Memory(counts), batch_size=sizes[1], shuffle=shuffle, epoch_rows=epoch_rows)
    second.resume(saved(first, position), done)
    total = second.steps(None, 2)
    left = read(second, position)
    assert min(epoch_rows, sum(counts)) <= position.row + len(flat(left))
    before_last = left[-2][1].row if len(left) > 1 else position.row if left else 0
    assert before_last < epoch_rows
    if sizes[0] == sizes[1]:
        assert [*batches[: len(batches) - len(left)], *left] == batches
        assert read(second, Position(1)) == read(first, Position(1))
        assert total == 2 * len(batches)


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
    second.resume(saved(first, end))
    found = read(second, end)
    assert flat(found) == list(range(20, 20 + left))
    for rows, position in found:
        third = loader(files, epoch_rows=epoch_rows)
        third.resume(saved(second, position))
        assert flat(read(third, position)) == list(range(rows[-1] + 1, 20 + left))


def test_an_epoch_that_is_over_no_longer_needs_its_unread_files(tmp_path) -> None:
    files = numbered.write_parquet(tmp_path, [8, 8, 8])
    first = loader(files, epoch_rows=8)
    end = read(first)[-1][1]
    second = loader(files[2:], epoch_rows=8)
    second.resume(saved(first, end))
    assert read(second, end) == []
    assert flat(read(second, Position(1))) == list(range(16, 24))
    with fails(DataError, files[0], "train_input_path"):
        loader(files[2:], epoch_rows=9).resume(saved(first, end))


def test_files_of_unknown_length_are_assumed_to_have_enough_rows(tmp_path) -> None:
    files = numbered.write_csv(tmp_path, [7, 8])
    assert loader(files).steps(None, 3) is None
    assert loader(files).steps(5, 3) is None, "the epochs may be shorter"
    assert loader(files, epoch_rows=9).steps(None, 3) == 9
    assert loader(files, epoch_rows=9).steps(5, None) == 5


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("epoch_rows", [None, 9, 99])
def test_an_epoch_that_read_such_files_to_their_end_determines_the_steps(
    tmp_path, epoch_rows, drop
) -> None:
    made = loader(numbered.write_csv(tmp_path, [7, 8]), epoch_rows=epoch_rows, drop_remainder=drop)
    count = len(read(made))
    assert made.steps(None, 3) == 3 * count
    assert made.steps(5, None) == 5
    assert made.steps(5, 3) == min(5, 3 * count)
    assert made.steps(99, 3) == 3 * count


@pytest.mark.parametrize(
    ("epoch_rows", "target"), [(None, ""), (24, ""), (25, "25"), (5000, "5,000")]
)
def test_an_epoch_that_lacks_more_than_a_batch_reports_both_numbers(epoch_rows, target) -> None:
    made = loader(Memory([13, 7]), epoch_rows=epoch_rows)
    end = read(made)[-1][1]
    line = made.shortfall(end)
    assert bool(line) == bool(target)
    if target:
        says(line, "train_config.num_samples", f" {target},", " 20 rows")


class Gaps(Memory):
    """Beside the number of a row a value, which every third row lacks."""

    def columns(self, file: str) -> list[str]:
        return ["row", "x"]

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        for batch in super().read(file, columns, skip):
            numbers = batch.column("row").to_pylist()
            values = [None if number % 3 == 0 else number + 1.0 for number in numbers]
            yield batch.append_column("x", pa.array(values, pa.float64()))


X = 'raw_feature { feature_name: "x" use_mask: true fg_encoded_default_value: "-1" }'


@settings(deadline=None, max_examples=60)
@given(
    counts=COUNTS,
    size=st.integers(1, 7),
    epoch_rows=st.integers(1, 70),
    shuffle=st.booleans(),
    drop=st.booleans(),
    num_workers=st.sampled_from([0, 2]),
)
def test_only_rows_of_the_epoch_are_counted_and_the_mask_is_that_of_all(
    counts, size, epoch_rows, shuffle, drop, num_workers
) -> None:
    """Also where the epoch ends within a chunk. drop_remainder leaves out rows that were read."""

    def made(mask_prob: float, rows: int | None) -> Loader:
        assembler = Assembler(features(X), [], reserved=["row"], mask_prob=mask_prob)
        changes = {"batch_size": size, "shuffle": shuffle, "drop_remainder": drop}
        handed = delivery(**changes, num_workers=num_workers, epoch_rows=rows)
        return Loader(Gaps(counts), assembler, handed)

    part = made(0.0, epoch_rows)
    rows = flat(read(part))
    everything = [row for count in counts for row in range(count)]
    counted = everything if drop and len(rows) < epoch_rows else rows
    expected = Quality()
    missing = sum(row % 3 == 0 for row in counted)
    expected.add({"x": Tally(missing=missing, defaulted=missing)}, len(counted))
    assert part.quality.report() == expected.report()

    whole, cut = (
        [batch.inputs.numbers.tolist() for batch, _ in made(0.3, rows).epoch(Position(1))]
        for rows in (None, epoch_rows)
    )
    assert cut == whole[: -(-epoch_rows // size)]


def test_a_bad_value_of_a_cut_chunk_is_reported_by_its_row_of_the_file() -> None:
    """Row 5 of the second file comes to the front of a shuffled chunk."""
    rows = pa.RecordBatch.from_pydict({"y": ["0"] * 7 + ["oops"] + ["0"] * 4})
    whole = Chunk(0, (rows,), (FileRows("a.csv", 0, 3), FileRows("b.csv", 0, 9)))
    with pytest.raises(DataError, match=r"b\.csv, row 5, column 'y'"):
        Assembler([], [Column("y", "label")]).assemble(whole.take(np.array([2, 7])))
