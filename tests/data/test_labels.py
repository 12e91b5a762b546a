"""Labels, weights and groups: what each cell means, and which cells stop the run."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from features.arrow_columns import type_name
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import says

from tzmmoe.batch import Column
from tzmmoe.data.labels import NO_GROUP, read
from tzmmoe.features.forms import BadType, BadValue

NAN = float("nan")
CLICK = Column("y", "label", 0, 1)
ANY = Column("y", "label")
CLASSES = Column("y", "label", 0, 2, num_classes=3)
WEIGHT = Column("w", "weight", 0)
GROUP = Column("g", "group")

CLICKS = [
    pa.array([True, False, None, True]),
    *[pa.array([1, 0, None, 1], kind) for kind in (pa.int8(), pa.int32(), pa.int64())],
    *[pa.array([1, 0, None, 1], kind) for kind in (pa.uint8(), pa.uint64())],
    *[pa.array([1, 0, None, 1], kind) for kind in (pa.float32(), pa.float64())],
    pa.array([1.0, -0.0, NAN, 1.0]),
    pa.array([np.float16(1), np.float16(0), None, np.float16(1)], pa.float16()),
    pa.array([Decimal(1), Decimal(0), None, Decimal(1)], pa.decimal128(9, 2)),
    pa.array(["1", "0", None, "1"]),
    pa.array(["1.0", "0.0", "", " 1"], pa.large_string()),
    pa.array(["1", "0", "nan", "1e0"], pa.string_view()),
    pa.array([b"1", b"0", b"", b"1"]),
    pa.array(["1", "0", None, "1"]).dictionary_encode(),
    pa.array([1, 0, None, 1]).dictionary_encode(),
    pa.array([9, 1, 0, None, 1, 9]).slice(1, 4),
]


@pytest.mark.parametrize("column", [CLICK, ANY, CLASSES], ids=["binary", "number", "class"])
@pytest.mark.parametrize("array", CLICKS, ids=type_name)
def test_a_label_is_the_same_in_whatever_type_it_is_stored(column: Column, array: pa.Array) -> None:
    """Nulls, NaN and empty texts are missing."""
    labels = read(column, array)
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [1, 0, NAN, 1])


@pytest.mark.parametrize("column", [CLICK, ANY, CLASSES], ids=["binary", "number", "class"])
def test_a_column_of_nothing_is_missing_everywhere(column: Column) -> None:
    for array in (pa.nulls(2), pa.array(["", None]), pa.array([None, NAN], pa.float32())):
        np.testing.assert_array_equal(read(column, array), [NAN, NAN])
    assert read(column, pa.nulls(0)).shape == (0,)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e30, 1e30) | st.none() | st.just(NAN), max_size=8), st.booleans())
def test_numbers_without_limits_stay_what_they_are_in_32_bits(
    numbers: list[float | None], as_text: bool
) -> None:
    texts = [None if number is None else str(number) for number in numbers]
    array = pa.array(texts, pa.string()) if as_text else pa.array(numbers, pa.float64())
    expected = [np.float32(NAN if number is None else number) for number in numbers]
    np.testing.assert_array_equal(read(ANY, array), np.array(expected, np.float32))


BAD_LABELS = [
    (CLICK, [1, 0, 2], r"2 is outside \[0, 1\]"),
    (CLICK, [1, 0, -1], r"-1 is outside \[0, 1\]"),
    (CLICK, [1, None, 1.0000001], r"is outside \[0, 1\]"),
    (CLICK, ["1", "", "yes"], "'yes' is not a number"),
    (CLICK, ["1", None, "1_0"], "'1_0' is not a number"),
    (CLICK, [1.0, None, float("inf")], r"inf is outside \[0, 1\]"),
    (Column("y", "label", 0), [1.0, None, -0.5], r"-0.5 is outside \[0, inf\]"),
    (ANY, [1.0, None, float("inf")], "inf .*finite 32-bit"),
    (ANY, [1.0, None, -1e39], r"-1e\+39 .*finite 32-bit"),
    (ANY, ["1", "", "1e39"], r"1e\+39 .*finite 32-bit"),
    (CLASSES, [0, 2, 3], r"3 is outside \[0, 2\]"),
    (CLASSES, [0, None, -1], r"-1 is outside \[0, 2\]"),
    (CLASSES, [0, 2, 1.5], "1.5 .*whole number"),
    (CLASSES, ["0", "2", "0.5"], "0.5 .*whole number"),
    (WEIGHT, [1.0, 0.0, None], "the weight is missing"),
    (WEIGHT, [1.0, 0.0, NAN], "the weight is missing"),
    (WEIGHT, ["1", "0.5", ""], "the weight is missing"),
    (WEIGHT, [1.0, 0.0, -0.5], "-0.5 .*weight; give a finite number, 0 or more"),
    (WEIGHT, [1.0, 0.0, float("inf")], "inf .*weight; give a finite number"),
    (WEIGHT, [1.0, 0.0, 1e39], r"1e\+39 .*weight; give a finite number"),
    (WEIGHT, ["1", "2", "x"], "'x' is not a number"),
]


@pytest.mark.parametrize(("column", "cells", "text"), BAD_LABELS, ids=type_name)
def test_a_label_or_weight_that_cannot_be_used_is_told_with_its_row(
    column: Column, cells: list, text: str
) -> None:
    for array in (pa.array(cells), pa.array(cells).dictionary_encode()):
        with pytest.raises(BadValue, match=text) as raised:
            read(column, array)
        assert raised.value.row == 2
    assert len(read(column, pa.array(cells[:2]))) == 2


@pytest.mark.parametrize("column", [CLICK, CLASSES, WEIGHT], ids=["label", "class", "weight"])
@pytest.mark.parametrize(
    "array",
    [
        pa.array([{"a": 1}]),
        pa.array([1], pa.date32()),
        pa.array([[[1]]]),
        pa.array([[{"a": 1}]]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([{"a": 1}])),
    ],
    ids=type_name,
)
def test_a_type_that_holds_no_numbers_is_refused(column: Column, array: pa.Array) -> None:
    with pytest.raises(BadType, match=f"cannot be used as {column.role}; give numbers"):
        read(column, array)


def test_lists_are_labels_of_classes_only() -> None:
    for column in (CLICK, ANY, WEIGHT):
        with pytest.raises(BadType, match="cannot be used as"):
            read(column, pa.array([[1.0, 0.0, 0.0]]))


SHARES = [[0.5, 0.25, 0.25], None, [0.0, 1.0, 0.0]]
DISTRIBUTIONS = [
    pa.array(SHARES, pa.list_(pa.float32())),
    pa.array(SHARES, pa.large_list(pa.float64())),
    pa.array(SHARES, pa.list_(pa.float64(), 3)),
    pa.array(SHARES, pa.list_view(pa.float64())),
    pa.array([SHARES[0], [], SHARES[2]]),
    pa.array([SHARES[0], [None] * 3, SHARES[2]]),
    pa.array([None if row is None else list(map(str, row)) for row in SHARES]),
    pa.array([[Decimal(str(each)) for each in row] if row else row for row in SHARES]),
    pa.array([[9.0] * 3, *SHARES, [9.0]]).slice(1, 3),
]


@pytest.mark.parametrize("array", DISTRIBUTIONS, ids=type_name)
def test_a_list_is_a_probability_for_each_class(array: pa.Array) -> None:
    labels = read(CLASSES, array)
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [SHARES[0], [NAN] * 3, SHARES[2]])


def test_one_class_can_be_marked_with_whole_numbers() -> None:
    array = pa.array([[0, 1, 0], None, [1, 0, 0]])
    np.testing.assert_array_equal(read(CLASSES, array), [[0, 1, 0], [NAN] * 3, [1, 0, 0]])
    flags = array.cast(pa.list_(pa.bool_()))
    np.testing.assert_array_equal(read(CLASSES, flags), read(CLASSES, array))


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([[0.5, 0.5, 0.0], None, [0.5, 0.5]], "2 probabilities for 3 classes"),
        ([[0.5, 0.5, 0.0], [], [0.25] * 4], "4 probabilities for 3 classes"),
        ([[0.5, 0.5, 0.0], None, [0.5, 0.6, -0.1]], r"holds a probability outside \[0, 1\]"),
        ([[0.5, 0.5, 0.0], None, [0.0, 1.5, 0.0]], r"holds a probability outside \[0, 1\]"),
        ([[0.5, 0.5, 0.0], None, [0.5, None, 0.5]], "lacks a probability"),
        ([[0.5, 0.5, 0.0], None, [0.5, NAN, 0.5]], "lacks a probability"),
        ([["0.5", "0.5", "0"], None, ["0.5", "x", "0.5"]], "'x' is not a number"),
    ],
    ids=str,
)
def test_a_list_that_is_no_distribution_is_told_with_its_row(cells: list, text: str) -> None:
    with pytest.raises(BadValue, match=text) as raised:
        read(CLASSES, pa.array(cells))
    assert raised.value.row == 2


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1.5, 0.0, 2.0]),
        pa.array(["1.5", "0", "2"]),
        pa.array([Decimal("1.5"), Decimal(0), Decimal(2)]),
        pa.array([1.5, 0.0, 2.0]).dictionary_encode(),
    ],
    ids=type_name,
)
def test_weights_are_numbers_from_zero_on(array: pa.Array) -> None:
    weights = read(WEIGHT, array)
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, [1.5, 0, 2])


KEYS = [5, -1, None, 0, 5, 2**40, -(2**40), None]
WHOLE = [
    pa.array(KEYS, pa.int64()),
    pa.array(KEYS, pa.float64()),
    pa.array(KEYS).dictionary_encode(),
    pa.array([7, *KEYS, 7]).slice(1, 8),
]


@pytest.mark.parametrize("array", WHOLE, ids=type_name)
def test_whole_numbers_are_groups_as_they_are_and_missing_ones_are_one_group(
    array: pa.Array,
) -> None:
    """Also as floats, as which a file with nulls may store the same column."""
    expected = [NO_GROUP if key is None else key for key in KEYS]
    groups = read(GROUP, array)
    assert groups.dtype == np.int64
    assert groups.tolist() == expected


@pytest.mark.parametrize(
    "kind", [pa.bool_(), pa.int8(), pa.uint8(), pa.uint64(), pa.float32()], ids=str
)
def test_small_numbers_are_the_same_groups_in_every_type(kind: pa.DataType) -> None:
    array = pa.array([1, 0, None, 1], pa.int8()).cast(kind)
    assert read(GROUP, array).tolist() == [1, 0, NO_GROUP, 1]


GROUP_CELLS = {
    "string": (pa.string(), st.text(max_size=3)),
    "large_string": (pa.large_string(), st.text("ab", max_size=1)),
    "binary": (pa.binary(), st.text("abé", max_size=2).map(str.encode)),
    "uint64": (pa.uint64(), st.integers(0, 3) | st.integers(2**63 + 1, 2**64 - 1)),
    "int8": (pa.int8(), st.integers(-2, 2)),
    "bool": (pa.bool_(), st.booleans()),
    "float64": (pa.float64(), st.sampled_from([NAN, -1.0, 0.0, 0.5, 1.5, 1e300, float("inf")])),
    "decimal128": (pa.decimal128(5, 1), st.sampled_from([Decimal("0.5"), Decimal(1), Decimal(-1)])),
    "null": (pa.null(), st.none()),
}


@settings(deadline=None, max_examples=80)
@given(st.data(), st.sampled_from(sorted(GROUP_CELLS)), st.booleans())
def test_rows_have_equal_groups_exactly_where_their_cells_are_equal(
    data: st.DataObject, name: str, coded: bool
) -> None:
    """Null, NaN and an empty text are all missing."""
    kind, values = GROUP_CELLS[name]
    array = pa.array(data.draw(st.lists(values | st.none(), max_size=8)), kind)
    cells = [None if cell in ("", b"") or cell != cell else cell for cell in array.to_pylist()]
    groups = read(GROUP, array.dictionary_encode() if coded else array)
    assert groups.dtype == np.int64
    first = [cells.index(cell) for cell in cells]
    assert [groups.tolist().index(group) for group in groups.tolist()] == first
    missing = [cell is None for cell in cells]
    assert (groups == NO_GROUP).tolist() == missing


@pytest.mark.parametrize(
    "array", [pa.array([[1]]), pa.array([{"a": 1}]), pa.array([1], pa.date32())], ids=type_name
)
def test_a_type_that_cannot_tell_groups_is_refused(array: pa.Array) -> None:
    with pytest.raises(BadType, match="groups; give whole numbers or text"):
        read(GROUP, array)


def test_what_is_read_can_be_written_to_and_belongs_to_no_file() -> None:
    """torch takes the memory over, and refuses arrays that cannot be written."""
    for column, array in ((ANY, pa.array([1.0, 2.0])), (GROUP, pa.array([1, 2]))):
        found = read(column, array)
        found[0] = 9
        assert array.to_pylist() == [1, 2]


@pytest.mark.parametrize(
    "cell", [[0.5, 0.5, 0.1], [0.2, 0.2, 0.2], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
)
def test_a_distribution_that_does_not_add_up_to_1_is_refused_with_its_sum(cell) -> None:
    with pytest.raises(BadValue, match="add up to 1") as caught:
        read(CLASSES, pa.array([[0.1, 0.2, 0.7], None, cell]))
    assert caught.value.row == 2


def test_distributions_of_few_digits_add_up() -> None:
    kind = pa.list_(pa.float32())
    assert read(CLASSES, pa.array([[0.333, 0.333, 0.3335]], kind)).shape == (1, 3)


@pytest.mark.parametrize("word", ["yes", "No", " Y", "n"])
def test_an_answer_in_words_is_refused_with_what_to_write(word) -> None:
    with pytest.raises(BadValue, match="write 1 and 0") as caught:
        read(CLICK, pa.array(["1", None, word]))
    assert caught.value.row == 2


@pytest.mark.parametrize("word", ["n/a", "NULL", " None", "-"])
def test_a_word_for_a_missing_label_names_the_setting_that_reads_it_so(word: str) -> None:
    with pytest.raises(BadValue) as caught:
        read(CLICK, pa.array(["1", word]))
    says(caught.value, repr(word), f'null_values: "{word.strip()}"', "empty", "data_config")
    with pytest.raises(BadValue) as caught:
        read(WEIGHT, pa.array(["1", word]))
    assert "null_values" not in str(caught.value)


def test_a_label_is_never_rounded_to_one_that_would_be_right() -> None:
    with pytest.raises(BadValue, match=r"1\.0000001 is outside"):
        read(CLICK, pa.array([1.0, 1.0000001]))
