"""An Arrow column of any type has the values that its cells have, one by one."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest
from features import arrow_columns
from features.arrow_columns import SEPARATOR, type_name
from features.oracles_values import by_row, values_of, weighted_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.features.column import filled, plain, read, reread
from tzmmoe.features.forms import BadType, BadValue
from tzmmoe.jagged import Jagged

KINDS = {**arrow_columns.NUMBERS, **arrow_columns.FRACTIONS, **arrow_columns.TEXTS}


def rows(values: Jagged) -> list[list]:
    """The values of each row."""
    return by_row(plain(values).values.to_pylist(), values.lengths)


def weighted_rows(values: Jagged) -> list[list[tuple]]:
    pairs = zip(plain(values).values.to_pylist(), values.weights.tolist(), strict=True)
    return by_row(pairs, values.lengths)


def narrow(pairs: list[list[tuple]]) -> list[list[tuple]]:
    """Weights as the model computes, in 32 bits."""
    return [[(value, float(np.float32(weight))) for value, weight in row] for row in pairs]


@pytest.mark.parametrize("container", arrow_columns.CONTAINERS)
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_values_of_any_type_equal_those_of_the_cells(container: str, data: st.DataObject) -> None:
    column = data.draw(arrow_columns.of(KINDS, [container]))
    values = read(column, SEPARATOR, weighted=False)
    assert values.num_rows == len(column)
    assert rows(values) == values_of(column, SEPARATOR)


@settings(deadline=None, max_examples=80)
@given(arrow_columns.of(arrow_columns.TEXTS), st.sampled_from(["a", "ab", "é", ".", "|"]))
def test_texts_are_cut_at_any_separator(column: pa.Array, separator: str) -> None:
    assert rows(read(column, separator, weighted=False)) == values_of(column, separator)


NOTHING = [
    pa.nulls(3),
    pa.array([None, [], [None]], pa.list_(pa.null())),
    pa.array(["", None, SEPARATOR]),
    pa.array([None, None, None], pa.dictionary(pa.int8(), pa.string())),
    pa.array([None, [], [""]], pa.list_(pa.string())),
]
NO_NUMBERS = [
    pa.array([float("nan"), None, float("nan")]),
    pa.array([None, [], [None]], pa.list_(pa.int64())),
]
NO_WEIGHTS = [pa.array([None, [], [("", 1.0)]], pa.map_(pa.string(), pa.float32()))]


@pytest.mark.parametrize(
    ("column", "weighted"),
    [(column, False) for column in NOTHING + NO_NUMBERS]
    + [(column, True) for column in NOTHING + NO_WEIGHTS],
    ids=type_name,
)
def test_a_column_of_nothing_has_no_values(column: pa.Array, weighted: bool) -> None:
    assert rows(read(column, SEPARATOR, weighted)) == [[], [], []]


STRUCT = pa.array([{"a": 1}, None])


@pytest.mark.parametrize(
    "column",
    [
        STRUCT,
        pa.array([date(2024, 2, 29)]),
        pa.array([datetime(2024, 2, 29, 1, 2)]),
        pa.array([[[1]], None]),
        pa.array([[{"a": 1}]]),
        pa.array([[date(2024, 2, 29)]]),
        pa.array([b"ab"], pa.binary(2)),
        pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([date(2024, 2, 29)])),
        pa.DictionaryArray.from_arrays(pa.array([1, 0]), STRUCT),
    ],
    ids=type_name,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_type_that_holds_no_values_is_refused_by_name(column: pa.Array, weighted: bool) -> None:
    with pytest.raises(BadType, match=r"(struct|date|timestamp|list|binary).* cannot be used"):
        read(column, SEPARATOR, weighted)


@pytest.mark.parametrize("number", [1, 1.5, True])
def test_numbers_hold_no_weights(number: float) -> None:
    for column in (pa.array([number]), pa.array([[number]])):
        with pytest.raises(BadType, match="weights"):
            read(column, SEPARATOR, weighted=True)


def test_a_map_of_a_feature_without_weights_is_refused() -> None:
    column = pa.array([[("a", 1.0)]], pa.map_(pa.string(), pa.float32()))
    with pytest.raises(BadType, match="weighted: true"):
        read(column, SEPARATOR, weighted=False)


WEIGHTED = st.tuples(
    st.text("ab:é", max_size=3),
    st.floats(-1e6, 1e6).map(str) | st.integers(-9, 9).map(str) | st.just(" 2.5"),
).map(":".join)
CELLS = st.lists(WEIGHTED, max_size=4).map(SEPARATOR.join)


@settings(deadline=None, max_examples=80)
@given(
    arrow_columns.of(
        {
            "string": (pa.string(), CELLS),
            "large_string": (pa.large_string(), CELLS),
            "binary": (pa.binary(), CELLS.map(str.encode)),
        }
    )
)
def test_weighted_texts_equal_those_of_the_cells(column: pa.Array) -> None:
    values = read(column, SEPARATOR, weighted=True)
    assert weighted_rows(values) == narrow(weighted_of(column, SEPARATOR))


KEYS = {
    "string": (pa.string(), st.text("abé", max_size=3)),
    "int64": (pa.int64(), st.integers(-9, 2**62)),
    "bool": (pa.bool_(), st.booleans()),
    "float64": (pa.float64(), st.integers(-9, 9).map(float)),
}
ITEMS = {
    "float32": (pa.float32(), st.floats(-1e6, 1e6, width=32)),
    "float64": (pa.float64(), st.floats(-1e6, 1e6)),
    "int32": (pa.int32(), st.integers(-9, 9)),
    "bool": (pa.bool_(), st.booleans()),
}


@settings(deadline=None, max_examples=80)
@given(st.data(), st.sampled_from(sorted(KEYS)), st.sampled_from(sorted(ITEMS)))
def test_values_and_weights_of_a_map_equal_its_entries(
    data: st.DataObject, key: str, item: str
) -> None:
    (keys, some), (items, weights) = KEYS[key], ITEMS[item]
    cells = st.lists(st.tuples(some, weights), max_size=3) | st.none()
    column = pa.array(data.draw(st.lists(cells, max_size=6)), pa.map_(keys, items))
    column = column.slice(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 6)))
    values = read(column, SEPARATOR, weighted=True)
    assert weighted_rows(values) == narrow(weighted_of(column, SEPARATOR))


@pytest.mark.parametrize("begin", [0, 1, 2])
def test_a_slice_of_a_map_has_its_own_entries(begin: int) -> None:
    cells = [[("a", 1.0), ("b", 2.0)], [("c", 3.0)], [("d", 4.0), ("e", 5.0)]]
    column = pa.array(cells, pa.map_(pa.string(), pa.float64())).slice(begin)
    assert weighted_rows(read(column, SEPARATOR, weighted=True)) == cells[begin:]


@pytest.mark.parametrize(
    ("column", "row", "text"),
    [
        (pa.array([f"a:1{SEPARATOR}b:2", None, f"a:1{SEPARATOR}b"]), 2, "'b' is not of the form"),
        (pa.array(["a:1", "a:x"]), 1, "'a:x' is not of the form"),
        (pa.array(["a:1", "a:"]), 1, "'a:' is not of the form"),
        (pa.array([["a:1", None, "b:2"], [], ["c:3", "c:1_0"]]), 2, "'c:1_0' is not of the form"),
        (pa.array([["a:1"], ["a:inf"]]), 1, "inf .*finite"),
        (pa.array([["a:1", "b:1"], None, ["a:nan"]]), 2, "nan .*finite"),
        (pa.array(["a: 1", "a:1e39"]), 1, r"1e\+39 .*finite"),
        (pa.array(["a", "b:1"]).dictionary_encode(), 0, "'a' is not of the form"),
    ],
    ids=type_name,
)
def test_a_weight_that_is_none_is_told_with_its_row(column: pa.Array, row: int, text: str) -> None:
    with pytest.raises(BadValue, match=text) as raised:
        read(column, SEPARATOR, weighted=True)
    assert raised.value.row == row


def test_a_weight_of_a_map_that_is_null_or_infinite_is_told_with_its_row() -> None:
    entries = [[("a", 1.0), ("b", 2.0)], None, [], [("c", 1.0), ("d", None)]]
    column = pa.array(entries, pa.map_(pa.string(), pa.float64()))
    with pytest.raises(BadValue, match="null") as raised:
        read(column, SEPARATOR, weighted=True)
    assert raised.value.row == 3
    entries[3][1] = ("d", float("inf"))
    with pytest.raises(BadValue, match=r"inf .*finite") as raised:
        read(pa.array(entries, column.type), SEPARATOR, weighted=True)
    assert raised.value.row == 3
    with pytest.raises(BadType, match="weights are string"):
        read(pa.array([[("a", "1")]], pa.map_(pa.string(), pa.string())), SEPARATOR, weighted=True)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"a", None, b"\xff", b"b"]),
        pa.array([[b"a", b"b"], None, [b"c", b"\xff"], []]),
        pa.DictionaryArray.from_arrays(pa.array([0, None, 1, 0]), pa.array([b"a", b"\xff"])),
    ],
    ids=type_name,
)
def test_bytes_that_are_no_text_are_told_with_their_row(column: pa.Array) -> None:
    with pytest.raises(BadValue, match="UTF-8") as raised:
        read(column, SEPARATOR, weighted=False)
    assert raised.value.row == 2


def test_a_word_of_a_dictionary_that_no_row_uses_does_not_matter() -> None:
    words = pa.array([b"a", b"\xff", b"b"])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 2, 2]), words)
    assert rows(read(column, SEPARATOR, weighted=False)) == [["a"], ["b"], ["b"]]


ANY_COLUMN = arrow_columns.of(
    {name: KINDS[name] for name in ("int32", "float32", "string", "decimal fractions")}
)


@settings(deadline=None, max_examples=80)
@given(ANY_COLUMN, st.integers(1, 3))
def test_the_first_values_are_a_slice_of_each_row(column: pa.Array, most: int) -> None:
    values = read(column, SEPARATOR, weighted=False).first(most)
    assert rows(values) == [row[:most] for row in values_of(column, SEPARATOR)]


@settings(deadline=None, max_examples=80)
@given(ANY_COLUMN, st.data())
def test_rows_can_be_emptied(column: pa.Array, data: st.DataObject) -> None:
    size = len(column)
    emptied = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    values = read(column, SEPARATOR, weighted=False).without(np.array(emptied, bool))
    given_rows = values_of(column, SEPARATOR)
    expected = [[] if gone else row for gone, row in zip(emptied, given_rows, strict=True)]
    assert rows(values) == expected
    missing = values.empty()
    assert ([False] * size if missing is None else missing.tolist()) == [not r for r in expected]


@settings(deadline=None, max_examples=80)
@given(arrow_columns.of({"string": KINDS["string"]}), st.lists(st.sampled_from("xyz"), max_size=3))
def test_only_empty_rows_are_filled(column: pa.Array, default: list[str]) -> None:
    values = filled(read(column, SEPARATOR, weighted=False), pa.array(default, pa.string()))
    assert rows(values) == [row or default for row in values_of(column, SEPARATOR)]


@settings(deadline=None, max_examples=80)
@given(ANY_COLUMN)
def test_each_value_knows_its_row(column: pa.Array) -> None:
    values = read(column, SEPARATOR, weighted=False)
    owners = [number for number, row in enumerate(rows(values)) for _ in row]
    assert [values.row_of(number) for number in range(values.num_values)] == owners


def weighted_values() -> Jagged:
    return read(pa.array([f"a:1{SEPARATOR}b:0.5{SEPARATOR}c:3", None, "d:2"]), SEPARATOR, True)


def test_weights_go_with_their_values() -> None:
    some = weighted_values()
    assert weighted_rows(some.first(2)) == [[("a", 1.0), ("b", 0.5)], [], [("d", 2.0)]]
    emptied = some.without(np.array([True, False, False]))
    assert weighted_rows(emptied) == [[], [], [("d", 2.0)]]
    full = filled(emptied, pa.array(["x", "y"]))
    assert weighted_rows(full) == [[("x", 1.0), ("y", 1.0)]] * 2 + [[("d", 2.0)]]


def test_another_feature_reads_weights_only_if_it_is_weighted() -> None:
    some = weighted_values()
    assert reread(some, weighted=False).weights is None
    assert rows(reread(some, weighted=False)) == [["a", "b", "c"], [], ["d"]]
    assert weighted_rows(reread(some, weighted=True)) == weighted_rows(some)
    texts = read(pa.array([["a:1", "b:0.5"], None]), SEPARATOR, weighted=False)
    assert weighted_rows(reread(texts, weighted=True)) == [[("a", 1.0), ("b", 0.5)], []]
    with pytest.raises(BadType, match="weights"):
        reread(read(pa.array([1, 2]), SEPARATOR, weighted=False), weighted=True)
