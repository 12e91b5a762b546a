"""Rows of any number of values: each operation does to a Jagged what it says of plain lists."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.jagged import Jagged, concatenated, side_by_side

Row = list  # of (value, weight), or of items, which are such lists

FLAT: dict[str, Callable[[list[int]], Any]] = {
    "numpy": lambda values: np.array(values, np.int64),
    "arrow": lambda values: pa.array(values, pa.int64()),
    "dictionary": lambda values: pa.array(map(str, values), pa.string()).dictionary_encode(),
}


def unflat(values: Any) -> list[int]:
    return [int(value) for value in values.tolist()]


def made(rows: list[Row], flat: str, weighted: bool, nested: bool) -> Jagged:
    """The rows as a reader would make them: without lengths where each has one value."""
    items = [item for row in rows for item in row] if nested else rows
    pairs = [pair for item in items for pair in item]
    return Jagged(
        FLAT[flat]([value for value, _ in pairs]),
        lengths_of(rows),
        np.array([weight for _, weight in pairs], np.float32) if weighted else None,
        np.array([len(item) for item in items], np.int64) if nested else None,
    )


def lengths_of(rows: list[Row]) -> np.ndarray | None:
    lengths = [len(row) for row in rows]
    return None if all(each == 1 for each in lengths) else np.array(lengths, np.int64)


def cut(flat: list, lengths: Any) -> list[list]:
    ends = np.cumsum([0, *lengths])
    assert ends[-1] == len(flat), "no value without a row"
    return [flat[begin:end] for begin, end in pairwise(ends)]


def rows_of(jagged: Jagged) -> list[Row]:
    """Told by values, lengths, weights and inner alone."""
    values = unflat(jagged.values)
    weights = [1.0] * len(values) if jagged.weights is None else jagged.weights.tolist()
    found = list(zip(values, weights, strict=True))
    if jagged.inner is not None:
        found = cut(found, jagged.inner)
    return [[each] for each in found] if jagged.lengths is None else cut(found, jagged.lengths)


PAIRS = st.tuples(st.integers(0, 5), st.integers(1, 9).map(float))


@st.composite
def drawn(draw: st.DrawFn, *, nested: bool | None = None) -> tuple[Jagged, list[Row]]:
    """Any Jagged of one feature, and its rows. Weights are 1 where it has none."""
    flat, weighted = draw(st.sampled_from(sorted(FLAT))), draw(st.booleans())
    nested = draw(st.booleans()) if nested is None else nested
    pairs = PAIRS if weighted else st.tuples(st.integers(0, 5), st.just(1.0))
    least, most = draw(st.sampled_from([(0, 3), (1, 1), (0, 0)]))
    values = st.lists(pairs, min_size=least, max_size=most)
    rows = draw(st.lists(st.lists(values, max_size=3) if nested else values, max_size=6))
    return made(rows, flat, weighted, nested), rows


def numbers_below(size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, size - 1), max_size=8) if size else st.just([])


laws = settings(deadline=None, max_examples=120)


@laws
@given(drawn())
def test_it_tells_what_it_holds(some: tuple[Jagged, list[Row]]) -> None:
    jagged, rows = some
    assert rows_of(jagged) == rows
    assert jagged.num_rows == len(rows)
    items = [item for row in rows for item in row] if jagged.inner is not None else rows
    assert jagged.num_values == sum(map(len, items))
    assert jagged.counts.tolist() == [len(row) for row in rows]
    empty = jagged.empty()
    found = [False] * len(rows) if empty is None else empty.tolist()
    assert found == [not row for row in rows]
    assert empty is None or empty.any()


@laws
@given(drawn())
def test_each_value_knows_its_row(some: tuple[Jagged, list[Row]]) -> None:
    jagged, rows = some
    owners = []
    for number, row in enumerate(rows):
        values = [value for item in row for value in item] if jagged.inner is not None else row
        owners += [number] * len(values)
    assert [jagged.row_of(value) for value in range(jagged.num_values)] == owners


@laws
@given(drawn(), st.data())
def test_rows_are_taken_in_any_order_also_twice_or_not_at_all(
    some: tuple[Jagged, list[Row]], data: st.DataObject
) -> None:
    jagged, rows = some
    order = data.draw(numbers_below(len(rows)))
    taken = jagged.take(np.array(order, np.int64))
    assert rows_of(taken) == [rows[number] for number in order]


@laws
@given(drawn(), st.randoms(use_true_random=False))
def test_a_permutation_is_undone_by_its_inverse(
    some: tuple[Jagged, list[Row]], random: Any
) -> None:
    jagged, rows = some
    order = list(range(len(rows)))
    random.shuffle(order)
    moved = jagged.take(np.array(order, np.int64))
    assert rows_of(moved.take(np.argsort(order).astype(np.int64))) == rows


@laws
@given(drawn(), st.data())
def test_slices_are_the_rows_between(some: tuple[Jagged, list[Row]], data: st.DataObject) -> None:
    jagged, rows = some
    begin = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(begin, len(rows)))
    assert rows_of(jagged.slice(begin, end)) == rows[begin:end]


@laws
@given(st.data(), st.sampled_from(sorted(FLAT)), st.booleans())
def test_rows_are_joined_and_cut_again(data: st.DataObject, flat: str, nested: bool) -> None:
    """With weights where either has them."""
    some = st.lists(PAIRS, max_size=3)
    rows = st.lists(st.lists(some, max_size=3) if nested else some, max_size=5)
    first, second = data.draw(rows), data.draw(rows)
    plain = made(first, flat, False, nested)
    whole = concatenated([plain, made(second, flat, True, nested)])
    assert rows_of(whole) == rows_of(plain) + second
    assert rows_of(whole.slice(len(first), whole.num_rows)) == second
    assert concatenated([plain, plain]).weights is None


@laws
@given(drawn(), st.data())
def test_values_are_kept_one_by_one(some: tuple[Jagged, list[Row]], data: st.DataObject) -> None:
    jagged, rows = some
    size = jagged.num_values
    kept = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    left = iter(kept)

    def filtered(values: list[tuple]) -> list[tuple]:
        return [pair for pair in values if next(left)]

    if jagged.inner is None:
        expected = [filtered(row) for row in rows]
    else:
        expected = [[filtered(item) for item in row] for row in rows]
    assert rows_of(jagged.keep(np.array(kept, bool))) == expected


@laws
@given(drawn(), st.integers(1, 3))
def test_the_first_of_each_row_are_a_slice_of_it(some: tuple[Jagged, list[Row]], most: int) -> None:
    jagged, rows = some
    assert rows_of(jagged.first(most)) == [row[:most] for row in rows]


@laws
@given(drawn(), st.data())
def test_rows_can_be_emptied_and_filled(
    some: tuple[Jagged, list[Row]], data: st.DataObject
) -> None:
    """The default is the row of another one, in the same kind of array; its weights are 1."""
    jagged, rows = some
    size, nested = len(rows), jagged.inner is not None
    gone = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    emptied = jagged.without(np.array(gone, bool))
    expected = [[] if is_gone else row for is_gone, row in zip(gone, rows, strict=True)]
    assert rows_of(emptied) == expected
    values = [(number, 1.0) for number in range(data.draw(st.integers(0, 3)))]
    default = [values] if nested else values
    kind = getattr(jagged.values, "type", None)
    flat = "numpy" if kind is None else "arrow" if kind == pa.int64() else "dictionary"
    filled = emptied.filled(made([default], flat, False, nested))
    if values:
        expected = [row or default for row in expected]
    assert rows_of(filled) == expected


def test_rows_that_all_have_one_value_after_filling_need_no_lengths() -> None:
    some = Jagged(np.array([5, 6]), np.array([1, 0, 1]))
    filled = some.filled(Jagged(np.array([7])))
    assert (filled.values.tolist(), filled.lengths) == ([5, 7, 6], None)


@laws
@given(drawn(nested=True))
def test_items_are_rows_of_their_own_and_can_be_grouped_again(
    some: tuple[Jagged, list[Row]],
) -> None:
    jagged, rows = some
    assert rows_of(jagged.items) == [item for row in rows for item in row]
    assert rows_of(jagged.items.grouped(jagged.lengths)) == rows


@laws
@given(drawn(nested=False))
def test_rows_grouped_into_one_each_give_the_rows_as_items(
    some: tuple[Jagged, list[Row]],
) -> None:
    jagged, rows = some
    grouped = jagged.grouped(None)
    assert rows_of(grouped) == [[row] for row in rows]
    assert rows_of(grouped.items) == rows


@st.composite
def features(draw: st.DrawFn) -> tuple[list[Jagged], list[list[Row]]]:
    """Ids of some features, and their rows."""
    count, num_rows = draw(st.integers(1, 4)), draw(st.integers(0, 6))
    least, most = draw(st.sampled_from([(0, 3), (1, 1)]))
    row = st.lists(PAIRS, min_size=least, max_size=most)
    by_feature = [draw(st.lists(row, min_size=num_rows, max_size=num_rows)) for _ in range(count)]
    weighted = draw(st.booleans())
    if not weighted:
        by_feature = [[[(v, 1.0) for v, _ in row] for row in rows] for rows in by_feature]
    return [made(rows, "numpy", weighted, False) for rows in by_feature], by_feature


def cells_of(jagged: Jagged, num_features: int) -> list[list[Row]]:
    """Row by row, the values of each feature."""
    shape = (jagged.num_rows, num_features)
    counts = np.ones(shape, np.int64) if jagged.lengths is None else jagged.lengths
    assert counts.shape == shape
    weights = None if jagged.weights is None else jagged.weights.ravel()
    flat = rows_of(Jagged(jagged.values.ravel(), counts.ravel(), weights))
    return [flat[place : place + num_features] for place in range(0, len(flat), num_features)]


@laws
@given(features(), st.data())
def test_features_side_by_side_are_taken_cut_and_kept_as_cells(
    some: tuple[list[Jagged], list[list[Row]]], data: st.DataObject
) -> None:
    parts, by_feature = some
    together, count = side_by_side(parts), len(parts)
    cells = [list(row) for row in zip(*by_feature, strict=True)]
    assert cells_of(together, count) == cells
    order = data.draw(numbers_below(len(cells)))
    taken = together.take(np.array(order, np.int64))
    assert cells_of(taken, count) == [cells[number] for number in order]
    middle = len(cells) // 2
    halves = [together.slice(0, middle), together.slice(middle, len(cells))]
    assert [cells_of(half, count) for half in halves] == [cells[:middle], cells[middle:]]
    assert cells_of(concatenated(halves), count) == cells
    first = [[cell[:1] for cell in row] for row in cells]
    assert cells_of(together.first(1), count) == first


@laws
@given(drawn())
def test_tensors_share_the_memory_of_the_arrays(some: tuple[Jagged, list[Row]]) -> None:
    jagged, rows = some
    if isinstance(jagged.values, pa.Array):
        return
    tensors = jagged.tensors()
    assert isinstance(tensors.values, torch.Tensor)
    assert rows_of(tensors) == rows
    if jagged.num_values:
        jagged.values[0] = 99
        assert tensors.values[0] == 99
    doubled = tensors.map(lambda part: part * 2)
    assert torch.equal(doubled.values, tensors.values * 2)
    assert (doubled.inner is None) == (jagged.inner is None)
