"""Rows of ids interleaved, permuted and cut into batches: each keeps its own, wherever it goes."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from assembled import Pairs, cells_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.batch import Batch
from tzmmoe.data.encode import Rows
from tzmmoe.jagged import Jagged, side_by_side


@st.composite
def ragged(draw: st.DrawFn, num_rows: int) -> list[list[Pairs]]:
    """For each feature, for each row, its ids with weights. Sometimes all have one id."""
    single = draw(st.booleans())
    num_features = draw(st.integers(1, 4))
    least, most = (1, 1) if single else (0, 3)
    ids = st.tuples(st.integers(0, 99), st.integers(1, 9).map(float))
    cells = st.lists(ids, min_size=least, max_size=most)
    rows = st.lists(cells, min_size=num_rows, max_size=num_rows)
    return [draw(rows) for _ in range(num_features)]


def as_ids(rows: list[Pairs], weighted: bool) -> Jagged:
    flat = [pair for row in rows for pair in row]
    lengths = None if all(len(row) == 1 for row in rows) else [len(row) for row in rows]
    return Jagged(
        np.array([each for each, _ in flat], np.int64),
        None if lengths is None else np.array(lengths, np.int64),
        np.array([weight for _, weight in flat], np.float32) if weighted else None,
    )


@st.composite
def parts(draw: st.DrawFn, num_rows: int) -> tuple[list[Jagged], list[list[Pairs]]]:
    """Ids of some features, and the same row by row. A feature without weights has weight 1."""
    by_feature = draw(ragged(num_rows))
    weighted = [draw(st.booleans()) for _ in by_feature]
    ids = [as_ids(rows, w) for rows, w in zip(by_feature, weighted, strict=True)]
    by_row = [
        [
            pairs if w else [(each, 1.0) for each, _ in pairs]
            for pairs, w in zip(row, weighted, strict=True)
        ]
        for row in zip(*by_feature, strict=True)
    ]
    return ids, by_row


SOME_PARTS = st.integers(0, 7).flatmap(parts)


@settings(deadline=None, max_examples=80)
@given(SOME_PARTS)
def test_interleaved_ids_lie_row_by_row_and_in_a_row_feature_by_feature(
    made: tuple[list[Jagged], list[list[Pairs]]],
) -> None:
    ids, by_row = made
    together = side_by_side(ids)
    assert cells_of(together, len(ids)) == by_row
    assert together.values.dtype == np.int64
    if all(part.weights is None for part in ids):
        assert together.weights is None
    else:
        assert together.weights.dtype == np.float32


@settings(deadline=None, max_examples=80)
@given(SOME_PARTS, st.randoms(use_true_random=False))
def test_permuted_rows_are_the_rows_in_another_order(
    made: tuple[list[Jagged], list[list[Pairs]]], random: object
) -> None:
    """Also with rows twice or left out."""
    ids, by_row = made
    order = [random.randrange(len(by_row)) for _ in by_row]
    for some in (order, sorted(set(order)), list(reversed(range(len(by_row))))):
        moved = side_by_side(ids).take(np.array(some, np.int64))
        assert cells_of(moved, len(ids)) == [by_row[place] for place in some]


def rows_of(ids: list[Jagged], num_rows: int) -> Rows:
    """With numbers, a label and a reserved column that tell each row's number."""
    number = np.arange(num_rows)
    return Rows(
        num_rows,
        {4: side_by_side(ids)},
        np.stack([number, -number], axis=1).astype(np.float32),
        {"label": number.astype(np.float32), "shares": np.stack([number, number], axis=1) / 2.0},
        pa.RecordBatch.from_arrays([pa.array([f"row {n}" for n in number])], names=["name"]),
        {},
    )


def assert_holds(batch: Batch, numbers: Sequence[int], cells_by_row: list, width: int) -> None:
    """The batch consists of the rows with these numbers, in this order."""
    assert len(batch) == len(numbers)
    expected = [cells_by_row[number] for number in numbers]
    assert cells_of(batch.inputs.ids[4], width) == expected
    assert batch.inputs.numbers.tolist() == [[number, -number] for number in numbers]
    assert batch.columns["label"].tolist() == list(numbers)
    assert batch.columns["shares"].tolist() == [[number / 2, number / 2] for number in numbers]
    assert batch.reserved.column("name").to_pylist() == [f"row {number}" for number in numbers]


@settings(deadline=None, max_examples=80)
@given(SOME_PARTS, st.integers(1, 9), st.integers(0, 8), st.booleans())
def test_batches_hold_each_row_once_and_in_order(
    made: tuple[list[Jagged], list[list[Pairs]]], size: int, begin: int, shuffled: bool
) -> None:
    ids, by_row = made
    rows = rows_of(ids, len(by_row))
    order = list(range(len(by_row)))
    if shuffled:
        order = np.random.default_rng(size).permutation(len(by_row)).tolist()
        rows = rows.permuted(np.array(order, np.int64))
    batches = list(rows.batches(size, begin))
    if not by_row:
        assert [len(batch) for batch in batches] == [0]
        assert_holds(batches[0], [], by_row, len(ids))
        return
    left = order[begin:]
    assert [len(batch) for batch in batches] == [
        len(left[at : at + size]) for at in range(0, len(left), size)
    ]
    for number, batch in enumerate(batches):
        assert_holds(batch, left[number * size : (number + 1) * size], by_row, len(ids))
