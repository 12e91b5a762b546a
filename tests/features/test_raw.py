"""The numbers and buckets of raw_feature, as a loop over the cells finds them."""

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import parts
import pyarrow as pa
import pytest
import torch
from features import arrow_columns
from features import oracles_values as oracles
from features.arrow_columns import SEPARATOR, type_name
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.errors import ConfigError
from tzmmoe.features import Feature, FeatureSettings
from tzmmoe.features.column import read
from tzmmoe.features.forms import BadValue
from tzmmoe.features.shared import Tally

TEXT_NUMBERS = st.floats(-1e6, 1e6).map(str) | st.integers(-9, 9).map(str) | st.just("")
KINDS = {
    **arrow_columns.NUMBERS,
    **arrow_columns.FRACTIONS,
    "string": (pa.string(), TEXT_NUMBERS),
    "large_string": (pa.large_string(), TEXT_NUMBERS),
    "binary": (pa.binary(), TEXT_NUMBERS.map(str.encode)),
}
BOUNDARIES = [-3.5, 0.0, 0.1, 0.7, 2.0, 1500.0]


def raw_feature(text: str = "", mode: str = "FG_DAG") -> Feature:
    setting = FeatureSettings(mode, "\x03", "MURMUR_HASH", Path())
    return parts.features(f'raw_feature {{ feature_name: "a" {text} }}', setting=setting)[0]


def bucket_feature(text: str = "", mode: str = "FG_DAG") -> Feature:
    return raw_feature(f"boundaries: {BOUNDARIES} embedding_dim: 4 {text}", mode)


def numbers(feature: Feature, column: pa.Array) -> list[list[float]]:
    """(B, value_dim)."""
    found, _ = feature.encode([read(column, feature.separator, feature.weighted)])
    assert found.dtype == np.float32
    return found.tolist()


def ids(feature: Feature, column: pa.Array) -> list[list[int]]:
    found, _ = feature.encode([read(column, feature.separator, feature.weighted)])
    return oracles.by_row(found.values.tolist(), found.lengths)


def tally(feature: Feature, column: pa.Array) -> Tally:
    return feature.encode([read(column, feature.separator, feature.weighted)])[1]


def narrow(number: oracles.Value) -> float:
    """As the model computes, in 32 bits."""
    return float(np.float32(float(number)))


@pytest.mark.parametrize("container", ["plain", "dictionary"])
@settings(deadline=None, max_examples=60)
@given(data=st.data(), default=st.sampled_from(["0", "-1.5", "7"]))
def test_numbers_of_any_type_equal_those_of_the_cells(
    container: str, data: st.DataObject, default: str
) -> None:
    column = data.draw(arrow_columns.of(KINDS, [container]))
    feature = raw_feature(f'default_value: "{default}"')
    cells = oracles.values_of(column, SEPARATOR)
    expected = [[narrow(number) for number in cell or [default]] for cell in cells]
    assert numbers(feature, column) == expected


TRIPLES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3)
MISSING = st.none() | st.just([])


@pytest.mark.parametrize("default", ["0", "2.5", f"1{SEPARATOR}2{SEPARATOR}3"])
@settings(deadline=None, max_examples=40)
@given(rows=st.lists(TRIPLES | MISSING, max_size=6))
def test_several_numbers_of_a_row_stay_in_their_order(default: str, rows: list) -> None:
    feature = raw_feature(f'value_dim: 3 default_value: "{default}"')
    own = [float(number) for number in default.split(SEPARATOR)]
    own = own * 3 if len(own) == 1 else own
    expected = [row or own for row in rows]
    texts = [None if row is None else SEPARATOR.join(map(str, row)) for row in rows]
    fixed = [row or None for row in rows]
    for column in (
        pa.array(rows, pa.list_(pa.float32())),
        pa.array(rows, pa.large_list(pa.float64())),
        pa.array(fixed, pa.list_(pa.float64(), 3)),
        pa.array(texts, pa.string()),
        pa.array(texts, pa.string()).dictionary_encode(),
    ):
        assert numbers(feature, column) == expected


@pytest.mark.parametrize(
    ("column", "row", "found"),
    [
        (pa.array([[1.0, 2.0], None, [1.0, 2.0, 3.0]]), 2, "3 numbers.*value_dim .2"),
        (pa.array([[1.0, 2.0], [], [1.0, None]]), 2, "one number.*value_dim .2"),
        (pa.array([f"1{SEPARATOR}2", "3", None]), 1, "one number.*value_dim .2"),
        (pa.array([1.0, 2.0]), 0, "one number.*value_dim .2"),
    ],
    ids=type_name,
)
def test_a_row_with_too_few_or_too_many_numbers_is_told(
    column: pa.Array, row: int, found: str
) -> None:
    with pytest.raises(BadValue, match=found) as raised:
        numbers(raw_feature("value_dim: 2"), column)
    assert raised.value.row == row


@pytest.mark.parametrize("container", ["plain", "dictionary"])
@settings(deadline=None, max_examples=60)
@given(data=st.data(), default=st.sampled_from(["", "0", "0.1", "0.7", "1e9"]))
def test_buckets_of_any_type_equal_a_loop_over_the_boundaries(
    container: str, data: st.DataObject, default: str
) -> None:
    column = data.draw(arrow_columns.of(KINDS, [container]))
    row = oracles.bucketed(BOUNDARIES)
    feature = bucket_feature(f'default_value: "{default}"')
    own = [default] if default else []
    assert ids(feature, column) == oracles.ids_of(column, row, default=own)
    assert feature.table.rows == len(BOUNDARIES) + 1


SEVENTHS = [
    pa.array([0.7, 0.0, None, -3.5], pa.float64()),
    pa.array([0.7, 0.0, None, -3.5], pa.float32()),
    pa.array([Decimal("0.7"), Decimal("0"), None, Decimal("-3.5")], pa.decimal128(5, 2)),
    pa.array(["0.7", "0", "", "-3.5"]),
    pa.array(["0.70", "-0", None, "-3.5e0"]).dictionary_encode(),
    pa.array([[0.7], [0.0], [], [-3.5]], pa.list_(pa.float32())),
]


@pytest.mark.parametrize("column", SEVENTHS, ids=type_name)
def test_a_number_on_a_boundary_is_in_the_bucket_above_in_whatever_type_it_is_stored(
    column: pa.Array,
) -> None:
    feature = bucket_feature('default_value: ""')
    assert ids(feature, column) == [[4], [2], [], [1]]
    feature = bucket_feature('default_value: "0.7"')
    assert ids(feature, column) == [[4], [2], [4], [1]]


def test_the_boundaries_of_torcheasyrec_give_its_buckets() -> None:
    feature = raw_feature("boundaries: [0, 150, 1500] embedding_dim: 4")
    column = pa.array([0, -1, 149.5, 150, 1e6, None])
    assert ids(feature, column) == [[1], [0], [1], [2], [3], [1]]


def test_several_bucketed_numbers_are_so_many_ids() -> None:
    feature = bucket_feature("value_dim: 2")
    column = pa.array([[0.0, 2.0], None, [-9.0, 0.1]])
    row = oracles.bucketed(BOUNDARIES)
    assert ids(feature, column) == [[row(0), row(2)], [row(0), row(0)], [row(-9), row(0.1)]]
    bare = bucket_feature('value_dim: 2 default_value: ""')
    assert ids(bare, column) == [[row(0), row(2)], [], [row(-9), row(0.1)]]


def test_the_normalizer_comes_before_the_boundaries_and_not_to_the_default() -> None:
    """log10 of 1000 is 3; the default 50 stays 50."""
    column = pa.array([1000, 1, None, 0, 1e-20])
    dense = raw_feature('normalizer: "method=log10" default_value: "50"')
    assert numbers(dense, column) == [[3.0], [0.0], [50.0], [-10.0], [-10.0]]
    feature = bucket_feature('normalizer: "method=log10" default_value: "50"')
    row = oracles.bucketed(BOUNDARIES)
    expected = [[row(3)], [row(0)], [row(50)], [row(-10)], [row(-10)]]
    assert ids(feature, column) == expected


def test_a_normalizer_acts_on_each_of_several_numbers() -> None:
    feature = raw_feature(
        'value_dim: 2 normalizer: "method=zscore,mean=1,standard_deviation=2" default_value: "9"'
    )
    column = pa.array([[1.0, 3.0], None, [5.0, -1.0]])
    assert numbers(feature, column) == [[0.0, 1.0], [9.0, 9.0], [2.0, -1.0]]


def test_a_normalizer_need_not_be_defined_where_there_is_no_number() -> None:
    feature = raw_feature('normalizer: "method=expression,expr=log(x - 1)" default_value: "9"')
    assert numbers(feature, pa.array([2.0, None, float("nan")])) == [[0.0], [9.0], [9.0]]


BAD = [
    ("", pa.array(["1", "2", "x"]), "'x' "),
    ("", pa.array(["1", None, "1,5"]), "'1,5' "),
    ("", pa.array([["1"], [], ["x"]]), "'x' "),
    ("", pa.array(["1", "2", "x"]).dictionary_encode(), "'x' "),
    ("", pa.array([1.0, None, math.inf]), "inf .*finite"),
    ("", pa.array([1.0, None, -math.inf]), "-inf .*finite"),
    ("", pa.array(["1", "", "inf"]), "inf .*finite"),
    ("", pa.array([1.0, None, 1e39]), r"1e\+39 .*finite 32-bit"),
    ("", pa.array(["1", "", "-1e39"]), r"-1e\+39 .*finite 32-bit"),
    ("value_dim: 2", pa.array([[1, 2], None, [3, 1e39]]), r"1e\+39 .*finite"),
    (
        'normalizer: "method=expression,expr=log(x)"',
        pa.array([1.0, None, -1.0]),
        "-1 .*normalizer.*finite",
    ),
    (
        'normalizer: "method=expression,expr=exp(x)"',
        pa.array([1.0, None, 100.0]),
        r"100 .*2.688\d+e\+43.*finite",
    ),
    (f"boundaries: {BOUNDARIES} embedding_dim: 4", pa.array([1.0, None, math.inf]), "inf .*finite"),
]


@pytest.mark.parametrize(("fields", "column", "text"), BAD, ids=type_name)
def test_a_number_that_the_model_cannot_use_is_told_with_its_row(
    fields: str, column: pa.Array, text: str
) -> None:
    with pytest.raises(BadValue, match=text) as raised:
        numbers(raw_feature(fields), column)
    assert raised.value.row == 2


def test_a_normalizer_may_bring_large_numbers_into_range() -> None:
    feature = raw_feature('normalizer: "method=log10"')
    assert numbers(feature, pa.array([1e300])) == [[300.0]]


def test_a_large_number_has_a_bucket_although_the_model_could_not_hold_it() -> None:
    assert ids(bucket_feature(), pa.array([1e300, -1e300])) == [[len(BOUNDARIES)], [0]]


@pytest.mark.parametrize(
    "column",
    [pa.nulls(2), pa.array([None, float("nan")]), pa.array(["", None]), pa.array([[], None])],
    ids=type_name,
)
def test_missing_numbers_are_the_default_or_an_error(column: pa.Array) -> None:
    feature = raw_feature()
    assert numbers(feature, column) == [[0.0], [0.0]]
    assert tally(feature, column) == Tally(missing=2, defaulted=2)
    with pytest.raises(BadValue, match=r"has no value.*default_value") as raised:
        numbers(raw_feature('default_value: ""'), column)
    assert raised.value.row == 0
    assert ids(bucket_feature('default_value: ""'), column) == [[], []]
    assert tally(bucket_feature('default_value: ""'), column) == Tally(missing=2)


@pytest.mark.parametrize("fields", ["", "value_dim: 3"])
def test_no_rows_have_no_numbers(fields: str) -> None:
    feature = raw_feature(fields)
    found, _ = feature.encode([read(pa.array([], pa.list_(pa.float32())), SEPARATOR, False)])
    assert found.shape == (0, feature.value_dim)


def test_finished_numbers_are_used_as_they_are() -> None:
    """FG_NONE: no normalizer, no default_value, cut at fg_encoded_multival_sep."""
    fields = 'normalizer: "method=log10" default_value: "7"'
    feature = raw_feature(fields, "FG_NONE")
    assert numbers(feature, pa.array(["0.5", "-2"])) == [[0.5], [-2.0]]
    with pytest.raises(BadValue, match="fg_encoded_default_value") as raised:
        numbers(feature, pa.array(["0.5", "", "1"]))
    assert raised.value.row == 1
    filled = raw_feature(fields + ' fg_encoded_default_value: "3"', "FG_NONE")
    assert numbers(filled, pa.array(["0.5", "", None])) == [[0.5], [3.0], [3.0]]
    pair = raw_feature('value_dim: 2 fg_encoded_default_value: "3\x034"', "FG_NONE")
    assert numbers(pair, pa.array(["0.5\x031", ""])) == [[0.5, 1.0], [3.0, 4.0]]
    assert numbers(pair, pa.array([[0.5, 1.0], None])) == [[0.5, 1.0], [3.0, 4.0]]


def test_finished_buckets_are_used_as_they_are() -> None:
    """FG_NONE: the column holds ids of the table, not numbers to compare with boundaries."""
    feature = bucket_feature(mode="FG_NONE")
    assert ids(feature, pa.array([5, 0, None, 6])) == [[5], [0], [], [6]]
    assert ids(feature, pa.array(["5\x030", ""])) == [[5, 0], []]
    assert ids(feature, pa.array([7, -1])) == [[0], [0]]
    assert tally(feature, pa.array([7, -1, None])) == Tally(missing=1, outside=2)
    filled = bucket_feature('fg_encoded_default_value: "2"', "FG_NONE")
    assert ids(filled, pa.array([5, None])) == [[5], [2]]
    with pytest.raises(BadValue, match=r"'0.5' .*whole number.*FG_NONE.*FG_DAG"):
        ids(feature, pa.array(["0.5"]))


def test_numbers_before_bucketing_are_only_bucketed() -> None:
    """FG_BUCKETIZE: boundaries and the default act, the normalizer does not."""
    fields = 'normalizer: "method=log10" default_value: "0.7"'
    row = oracles.bucketed(BOUNDARIES)
    expected = [[row(1000)], [row(0.7)], [row(-5)]]
    assert ids(bucket_feature(fields, "FG_BUCKETIZE"), pa.array([1000, None, -5])) == expected
    dense = raw_feature(fields, "FG_BUCKETIZE")
    assert numbers(dense, pa.array([1000, None])) == [[1000.0], [narrow(0.7)]]


def test_another_feature_reads_the_normalized_numbers() -> None:
    feature = raw_feature('normalizer: "method=minmax,min=0,max=4" default_value: "9"')
    values = feature.values([read(pa.array([1, None, 2]), SEPARATOR, False)])
    assert oracles.by_row(values.values.to_pylist(), values.lengths) == [[0.25], [9.0], [0.5]]
    bare = raw_feature('value_dim: 2 default_value: ""')
    values = bare.values([read(pa.array([[1, 2], None]), SEPARATOR, False)])
    assert oracles.by_row(values.values.to_pylist(), values.lengths) == [[1.0, 2.0], []]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()], ids=str)
def test_numbers_that_pass_a_feature_have_the_text_that_they_had_before(kind: pa.DataType) -> None:
    """So hashing feature:x equals hashing the column of x."""
    column = pa.array([0.7, 0.1, 3.0, 123.456], kind)
    passed = raw_feature().values([read(column, SEPARATOR, False)])
    hashed = parts.features(
        'id_feature { feature_name: "b" hash_bucket_size: 1000 embedding_dim: 4 }',
        setting=FeatureSettings("FG_DAG", "\x03", "MURMUR_HASH", Path()),
    )[0]
    row = oracles.hashed(1000)
    expected = [row("0.7"), row("0.1"), row("3"), row("123.456")]
    assert hashed.encode([passed])[0].values.tolist() == expected


@pytest.mark.parametrize(
    ("fields", "width"),
    [
        ("", 1),
        ("value_dim: 3", 3),
        ("boundaries: [1, 2] embedding_dim: 4", 4),
        ("boundaries: [1, 2] embedding_dim: 4 value_dim: 3", 4),
        ("embedding_dim: 5 mlp {}", 5),
        ("embedding_dim: 5 value_dim: 3 mlp {}", 5),
        ("embedding_dim: 5 autodis { num_channels: 2 }", 5),
        ("embedding_dim: 5 value_dim: 3 autodis { num_channels: 2 }", 15),
        ("embedding_dim: 5 value_dim: 3 periodic { sigma: 1 }", 15),
        ("embedding_dim: 5 value_dim: 3 boundaries: [1, 2] piecewise_linear {}", 15),
    ],
)
def test_a_feature_is_as_wide_as_what_enters_the_model(fields: str, width: int) -> None:
    feature = raw_feature(fields)
    assert feature.width == width
    if feature.embedder():
        rows = torch.tensor(numbers(feature, pa.array([[1.0] * feature.value_dim] * 2)))
        assert feature.embedder()(rows).shape == (2, width)


FAULTS = [
    ("boundaries: [1, 0] embedding_dim: 4", "boundaries: .*increasing"),
    ("boundaries: [1, 2]", "embedding_dim: is not set"),
    ("embedding_dim: 4", "embedding_dim: has no effect without boundaries, autodis, mlp or per"),
    ("boundaries: [1, 2] embedding_dim: 4 mlp {}", "mlp: is set, and so is boundaries"),
    ("mlp {}", "embedding_dim: is not set"),
    ("value_dim: 0", "value_dim: is 0"),
    ('default_value: "x"', "default_value: is 'x'.*32-bit"),
    ('default_value: "nan"', "default_value: is 'nan'.*32-bit"),
    ('default_value: "1e39"', "default_value: is '1e39'.*32-bit"),
    (f'value_dim: 3 default_value: "1{SEPARATOR}2"', "default_value: has 2 numbers.*value_dim"),
    ('normalizer: "log10"', "normalizer: is 'log10'.*method="),
    ('pooling: "max"', "pooling: is 'max'"),
    ('separator: ""', "separator: is empty"),
    ('expression: "usr:a"', "expression: is 'usr:a'"),
]


@pytest.mark.parametrize(("fields", "text"), FAULTS, ids=[fields for fields, _ in FAULTS])
def test_a_feature_that_cannot_work_is_refused_by_its_field(fields: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        raw_feature(fields)


@pytest.mark.parametrize("fields", ["", "boundaries: [1, 2] embedding_dim: 4"])
def test_a_finished_default_that_is_no_number_is_refused_by_its_field(fields: str) -> None:
    with pytest.raises(ConfigError, match="fg_encoded_default_value: "):
        raw_feature(fields + ' fg_encoded_default_value: "x"', "FG_NONE")
