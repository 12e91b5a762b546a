"""The ids of id_feature: of each row of data, as a loop over its cells finds them."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from features import arrow_columns
from features import oracles_values as oracles
from features.arrow_columns import SEPARATOR, type_name
from features.id_features import encoded, id_feature, ids, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.features.column import read
from tzmmoe.features.forms import BadValue
from tzmmoe.features.hashing import hash_texts
from tzmmoe.features.shared import Tally

WORDS = ["7", "0", "1", "2", "a", "ab", "é"]
LIST = " ".join(f'vocab_list: "{word}"' for word in WORDS)
DICTIONARY = " ".join(
    f'vocab_dict {{ key: "{word}" value: {3 + 2 * place} }}' for place, word in enumerate(WORDS)
)
BY_PLACE = {word: place for place, word in enumerate(WORDS)}
TWO_BEFORE = {word: 2 + place for place, word in enumerate(WORDS)}
OF_DICTIONARY = {word: 3 + 2 * place for place, word in enumerate(WORDS)}

Row = Callable[[oracles.Value], int]
# Fields of the feature, and the row of a value that they mean. The default value is "dflt" or "2".
OF_TEXT: dict[str, tuple[str, Row]] = {
    "hash_bucket_size": ("hash_bucket_size: 1000", oracles.hashed(1000)),
    "vocab_list": (LIST, oracles.known(TWO_BEFORE, 1)),
    "vocab_list with a row for unknown words": (
        LIST + " default_bucketize_value: 3",
        oracles.known(BY_PLACE, 3),
    ),
    "vocab_dict": (DICTIONARY, oracles.known(OF_DICTIONARY, 1)),
    "vocab_dict with a row for unknown words": (
        DICTIONARY + " default_bucketize_value: 0",
        oracles.known(OF_DICTIONARY, 0),
    ),
    "vocab_file": (
        'vocab_file: "words.txt" default_bucketize_value: 1',
        oracles.known(BY_PLACE, 1),
    ),
}
OF_NUMBERS: dict[str, tuple[str, Row]] = {
    "num_buckets": ("num_buckets: 20", oracles.itself(20)),
    "num_buckets, modulo": (
        "num_buckets: 20 out_of_range: MODULO",
        oracles.itself(20, "MODULO"),
    ),
}
WAYS = {**OF_TEXT, **OF_NUMBERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a vocabulary file."""
    made = tmp_path_factory.mktemp("words")
    (made / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return made


TEXT_CELLS = {**arrow_columns.TEXTS, **arrow_columns.NUMBERS, **arrow_columns.FRACTIONS}
WHOLE_TEXTS = st.lists(st.integers(-5, 30).map(str), max_size=3).map(SEPARATOR.join)
NUMBER_CELLS = {
    **arrow_columns.NUMBERS,
    "whole numbers in text": (pa.string(), WHOLE_TEXTS),
    "whole numbers in large text": (pa.large_string(), WHOLE_TEXTS),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("container", ["plain", "dictionary", "list", "fixed_size_list"])
@settings(deadline=None, max_examples=12)
@given(
    data=st.data(),
    most=st.sampled_from([0, 0, 1, 2]),
    default=st.sampled_from(["", "2", "13", f"2{SEPARATOR}7"]),
)
def test_ids_equal_a_loop_over_the_cells(
    way: str, container: str, folder: Path, data: st.DataObject, most: int, default: str
) -> None:
    """Of every type, with several values in a row or none, cut and defaulted."""
    cells = NUMBER_CELLS if way in OF_NUMBERS else TEXT_CELLS
    column = data.draw(arrow_columns.of(cells, [container]))
    fields, row = WAYS[way]
    if "vocab_list" in way and "unknown" not in way and default == "13":
        row = oracles.known({**TWO_BEFORE, "13": 0}, 1)
    if way == "vocab_dict" and default == "13":
        row = oracles.known({**OF_DICTIONARY, "13": 0}, 1)
    feature = id_feature(f'{fields} value_dim: {most} default_value: "{default}"', folder=folder)
    own = default.split(SEPARATOR)[: most or None] if default else []
    assert ids(feature, column) == oracles.ids_of(column, row, most=most, default=own)


FLAGS = [
    pa.array([True, False, None, True]),
    *[pa.array([1, 0, None, 1], kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())],
    *[pa.array([1, 0, None, 1], kind) for kind in (pa.uint8(), pa.uint16(), pa.uint32())],
    pa.array([1, 0, None, 1], pa.uint64()),
    pa.array([np.float16(1), np.float16(0), None, np.float16(1)], pa.float16()),
    *[pa.array([1.0, 0.0, None, 1.0], kind) for kind in (pa.float32(), pa.float64())],
    pa.array([1.0, -0.0, float("nan"), 1.0]),
    pa.array([Decimal(1), Decimal(0), None, Decimal(1)], pa.decimal128(38, 18)),
    *[pa.array(["1", "0", None, "1"], kind) for kind in (pa.string(), pa.large_string())],
    pa.array(["1", "0", "", "1"], pa.string_view()),
    pa.array([b"1", b"0", None, b"1"]),
    pa.array(["1", "0", None, "1"]).dictionary_encode(),
    pa.array([1, 0, None, 1]).dictionary_encode(),
    pa.array([[1], [0], [], [1]]),
    pa.array([["1"], ["0"], None, ["1"]], pa.large_list(pa.string())),
    pa.array([[True], [False], [None], [True]], pa.list_(pa.bool_(), 1)),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("flags", FLAGS, ids=type_name)
def test_a_flag_has_the_same_id_in_whatever_type_it_is_stored(
    way: str, flags: pa.Array, folder: Path
) -> None:
    fields, row = WAYS[way]
    feature = id_feature(fields, folder=folder)
    assert ids(feature, flags) == [[row("1")], [row("0")], [], [row("1")]]


def test_the_hash_is_the_one_that_data_config_names() -> None:
    texts = pa.array(["a", "an item", "7"])
    for function in ("MURMUR_HASH", "FARM_HASH"):
        feature = id_feature("hash_bucket_size: 97", hash_function=function)
        expected = [[int(each) % 97] for each in hash_texts(texts, function)]
        assert ids(feature, texts) == expected


def test_an_example_of_torcheasyrec_has_its_ids() -> None:
    """Texts cut at \\x1d and hashed into 100 rows; missing without and with a default."""
    column = pa.array([f"abc{SEPARATOR}efg", "hij", "", None])
    assert ids(id_feature("hash_bucket_size: 100"), column) == [[33, 44], [66], [], []]
    with_default = id_feature('hash_bucket_size: 100 default_value: "xyz"')
    assert ids(with_default, column) == [[33, 44], [66], [13], [13]]


@pytest.mark.parametrize("column", [pa.array([], pa.string()), pa.array([], pa.list_(pa.int64()))])
@pytest.mark.parametrize("way", WAYS)
def test_no_rows_have_no_ids(way: str, column: pa.Array, folder: Path) -> None:
    feature = id_feature(WAYS[way][0] + ' default_value: "1"', folder=folder)
    assert ids(feature, column) == []


@pytest.mark.parametrize("default", ["", "1"])
def test_a_column_without_any_value_has_the_default_everywhere(default: str) -> None:
    feature = id_feature(f'num_buckets: 5 default_value: "{default}"')
    expected = [[int(default)] if default else []] * 2
    for column in (pa.nulls(2), pa.array([[], None], pa.list_(pa.null())), pa.array(["", None])):
        assert ids(feature, column) == expected


def test_a_cell_is_cut_at_the_separator_of_the_feature() -> None:
    feature = id_feature('num_buckets: 50 separator: "|"')
    assert ids(feature, pa.array(["1|2|", "|", "30"])) == [[1, 2], [], [30]]


def test_rows_are_counted_that_miss_a_value_take_the_default_or_have_unrecognized_values() -> None:
    """Rows, not values: two unknown words in a row are one row."""
    column = pa.array([["a", "zz"], None, ["zz", "zz"], [], ["7"]])
    _, tally = encoded(id_feature(LIST), column)
    assert tally == Tally(missing=2, unknown=2)
    _, tally = encoded(id_feature(LIST + ' default_value: "q"'), column)
    assert tally == Tally(missing=2, defaulted=2, unknown=2)
    coded = pa.array(["zz", "a", "zz", None, "zz"]).dictionary_encode()
    _, tally = encoded(id_feature(LIST), coded)
    assert tally == Tally(missing=1, unknown=3)
    numbers = pa.array([[1, 9], None, [-1], [2]])
    _, tally = encoded(id_feature("num_buckets: 5"), numbers)
    assert tally == Tally(missing=1, outside=2)
    _, tally = encoded(id_feature("hash_bucket_size: 5"), numbers)
    assert tally == Tally(missing=1)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[0, 4], None, [1, 5]]),
        pa.array([f"0{SEPARATOR}4", "", f"1{SEPARATOR}5"]),
        pa.array(["0", None, "5"]).dictionary_encode(),
        pa.array([0, None, -1]),
    ],
    ids=type_name,
)
def test_an_id_outside_the_table_stops_with_its_row_where_the_config_says_so(
    column: pa.Array,
) -> None:
    feature = id_feature("num_buckets: 5 out_of_range: ERROR")
    with pytest.raises(BadValue, match=r"is outside \[0, 5\)") as raised:
        encoded(feature, column)
    assert raised.value.row == 2
    assert ids(feature, column.slice(0, 2))[1] == []


def test_what_is_no_whole_number_stops_with_its_row() -> None:
    for column in (
        pa.array([f"1{SEPARATOR}2", None, "3", f"4{SEPARATOR}x"]),
        pa.array([[1.0, 2.0], None, [], [1.0, 0.5]]),
        pa.array(["1", "2", "1", "x"]).dictionary_encode(),
    ):
        with pytest.raises(BadValue, match="whole number") as raised:
            encoded(id_feature("num_buckets: 5"), column)
        assert raised.value.row == 3


def test_an_unrecognized_word_of_a_dictionary_that_no_row_uses_does_not_matter() -> None:
    words = pa.array(["1", "no number", "3"])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 2, None]), words)
    feature = id_feature("num_buckets: 5 out_of_range: ERROR")
    assert ids(feature, column) == [[1], [3], []]


WEIGHTED = [
    pa.array([f"abc:0.5{SEPARATOR}efg:2", None, "hij:-1"]),
    pa.array([["abc:0.5", "efg:2"], None, ["hij:-1"]]),
    pa.array([f"abc:0.5{SEPARATOR}efg:2", "", "hij:-1"]).dictionary_encode(),
    pa.array([[("abc", 0.5), ("efg", 2)], None, [("hij", -1)]], pa.map_(pa.string(), pa.float32())),
]


@pytest.mark.parametrize("column", WEIGHTED, ids=type_name)
def test_weights_stay_beside_the_ids_of_their_values(column: pa.Array) -> None:
    """Ids as torcheasyrec.md has them for abc, efg, hij and xyz; a default has weight 1."""
    feature = id_feature("hash_bucket_size: 100 weighted: true")
    assert pairs(feature, column) == [[(33, 0.5), (44, 2.0)], [], [(66, -1.0)]]
    first = id_feature("hash_bucket_size: 100 weighted: true value_dim: 1")
    assert pairs(first, column) == [[(33, 0.5)], [], [(66, -1.0)]]
    filled = id_feature('hash_bucket_size: 100 weighted: true default_value: "xyz"')
    assert pairs(filled, column) == [[(33, 0.5), (44, 2.0)], [(13, 1.0)], [(66, -1.0)]]


def test_encoded_ids_are_used_as_they_are() -> None:
    """FG_NONE: whatever gave the table its rows, and cut at fg_encoded_multival_sep."""
    column = pa.array(["3\x034", "", None, "1"])
    for fields in ("hash_bucket_size: 5", "num_buckets: 5", 'vocab_list: ["a", "b", "c"]'):
        feature = id_feature(f'{fields} default_value: "2"', "FG_NONE")
        assert feature.table.rows == 5
        assert ids(feature, column) == [[3, 4], [], [], [1]]
        filled = id_feature(f'{fields} fg_encoded_default_value: "0\x032"', "FG_NONE")
        assert ids(filled, column) == [[3, 4], [0, 2], [0, 2], [1]]
    assert ids(feature, pa.array([[3, 4], [], None, [1]])) == [[3, 4], [], [], [1]]
    assert ids(feature, pa.array([3, 7, None, -1])) == [[3], [0], [], [0]]
    weighted = id_feature("hash_bucket_size: 5 weighted: true", "FG_NONE")
    assert pairs(weighted, pa.array(["3:0.5\x034:2", ""])) == [[(3, 0.5), (4, 2.0)], []]


def test_encoded_ids_outside_the_table_follow_the_policy_and_are_counted() -> None:
    column = pa.array([3, 7, None, -1])
    modulo = id_feature("hash_bucket_size: 5 out_of_range: MODULO", "FG_NONE")
    assert ids(modulo, column) == [[3], [2], [], [4]]
    assert encoded(modulo, column)[1] == Tally(missing=1, outside=2)
    with pytest.raises(BadValue, match="7 is outside") as raised:
        encoded(id_feature("hash_bucket_size: 5 out_of_range: ERROR", "FG_NONE"), column)
    assert raised.value.row == 1


@pytest.mark.parametrize("way", OF_TEXT)
def test_values_before_bucketing_have_the_ids_of_raw_values(way: str, folder: Path) -> None:
    """FG_BUCKETIZE and FG_NORMAL differ from FG_DAG in the columns alone."""
    column = pa.array([f"a{SEPARATOR}7", None, "zz"])
    fields = OF_TEXT[way][0] + ' default_value: "é"'
    expected = ids(id_feature(fields, folder=folder), column)
    for mode in ("FG_NORMAL", "FG_BUCKETIZE"):
        assert ids(id_feature(fields, mode, folder=folder), column) == expected


def test_another_feature_reads_the_values_that_are_hashed() -> None:
    """Cut, and with the default in place of missing ones."""
    column = pa.array([f"a{SEPARATOR}b{SEPARATOR}c", None, "d"])
    feature = id_feature(f'hash_bucket_size: 9 value_dim: 2 default_value: "x{SEPARATOR}y"')
    values = feature.values([read(column, feature.separator, feature.weighted)])
    flat = values.values.to_pylist()
    assert oracles.by_row(flat, values.lengths) == [["a", "b"], ["x", "y"], ["d"]]
    plain = id_feature("hash_bucket_size: 9")
    values = plain.values([read(column, plain.separator, plain.weighted)])
    flat = values.values.to_pylist()
    assert oracles.by_row(flat, values.lengths) == [["a", "b", "c"], [], ["d"]]
