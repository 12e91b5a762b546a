"""The text, the whole number and the number that a value stands for, whatever type stores it."""

import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from features import arrow_columns
from features.oracles_values import text_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.features.forms import BadValue, as_integers, as_numbers, as_text

FLAG_TYPES = [
    pa.bool_(),
    *[pa.int8(), pa.int16(), pa.int32(), pa.int64()],
    *[pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()],
    *[pa.float16(), pa.float32(), pa.float64()],
    *[pa.decimal128(1, 0), pa.decimal128(20, 9), pa.decimal128(38, 18), pa.decimal256(60, 3)],
    pa.decimal128(5, 4),
]
KINDS = {**arrow_columns.NUMBERS, **arrow_columns.FRACTIONS}


@st.composite
def numbers(draw: st.DrawFn, kinds: dict = KINDS) -> pa.Array:
    """A column of numbers without nulls and NaN."""
    kind, values = kinds[draw(st.sampled_from(sorted(kinds)))]
    some = draw(st.lists(values, max_size=12))
    return pa.array([value for value in some if value == value], kind)


def exact(column: pa.Array) -> list:
    """As Python's numbers, or numpy's where these are narrower."""
    narrow = {pa.float16(): np.float16, pa.float32(): np.float32}
    return [narrow.get(column.type, lambda value: value)(value) for value in column.to_pylist()]


@pytest.mark.parametrize("kind", FLAG_TYPES, ids=str)
def test_a_flag_has_the_same_text_in_every_type(kind: pa.DataType) -> None:
    flags = pa.array([1, 0, None, 1], pa.int8()).cast(pa.float32()).cast(pa.float64())
    if pa.types.is_decimal(kind):
        flags = pa.array([Decimal(1), Decimal(0), None, Decimal(1)], kind)
    assert as_text(flags.cast(kind)).to_pylist() == ["1", "0", None, "1"]


@settings(deadline=None, max_examples=80)
@given(st.integers(-(2**63), 2**64 - 1) | st.integers(-(2**53), 2**53) | st.integers(-300, 300))
def test_a_whole_number_has_the_same_text_in_every_type_that_holds_it(number: int) -> None:
    texts = {as_text(pa.array([Decimal(number)], pa.decimal128(38, 9)))[0].as_py()}
    for kind, low, high in (
        (pa.int8(), -(2**7), 2**7),
        (pa.int64(), -(2**63), 2**63),
        (pa.uint64(), 0, 2**64),
    ):
        if low <= number < high:
            texts.add(as_text(pa.array([number], kind))[0].as_py())
    for kind, narrow in ((pa.float16(), np.float16), (pa.float32(), np.float32)):
        if abs(number) <= 2**15 and int(narrow(number)) == number:
            texts.add(as_text(pa.array([narrow(number)], kind))[0].as_py())
    if int(float(number)) == number:
        texts.add(as_text(pa.array([float(number)]))[0].as_py())
    assert texts == {str(number)}


@settings(deadline=None, max_examples=80)
@given(numbers())
def test_the_text_of_a_number_is_its_shortest_decimal(column: pa.Array) -> None:
    assert as_text(column).to_pylist() == [text_of(value) for value in exact(column)]


@settings(deadline=None, max_examples=80)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_any_float_reads_back_the_same_and_has_no_digit_too_many(number: float) -> None:
    text = as_text(pa.array([number]))[0].as_py()
    assert float(text) == number
    if not -(2**63) <= number < 2**64 or number != int(number):
        assert Decimal(text) == Decimal(repr(number))


@settings(deadline=None, max_examples=80)
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_the_text_of_any_narrow_float_has_the_digits_of_a_narrow_float(number: float) -> None:
    text = as_text(pa.array([number], pa.float32()))[0].as_py()
    assert np.float32(text) == np.float32(number)
    if not -(2**63) <= number < 2**64 or number != int(number):
        assert Decimal(text) == Decimal(str(np.float32(number)))


@settings(deadline=None, max_examples=80)
@given(st.integers(-(10**9), 10**9), st.integers(0, 18), st.integers(0, 18))
def test_a_decimal_has_the_text_of_the_float_however_many_zeros_it_is_stored_with(
    digits: int, places: int, zeros: int
) -> None:
    """Also where Arrow would write a power of ten, as 1E-7 or 0E-7."""
    number = Decimal(digits).scaleb(-places)
    stored = pa.array([number], pa.decimal256(60, places + zeros))
    assert as_text(stored).to_pylist() == as_text(pa.array([float(number)])).to_pylist()


@settings(deadline=None, max_examples=80)
@given(st.decimals(-(10**19), 10**19, places=12))
def test_a_decimal_keeps_more_digits_than_a_float_has(number: Decimal) -> None:
    text = as_text(pa.array([number], pa.decimal128(38, 12)))[0].as_py()
    assert Decimal(text) == number


def test_a_decimal_with_a_negative_scale_is_a_whole_number() -> None:
    column = pa.array([Decimal(1200), Decimal(0), None], pa.decimal128(5, -2))
    assert as_text(column).to_pylist() == ["1200", "0", None]


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from(sorted({**KINDS, **arrow_columns.TEXTS})))
def test_the_text_of_a_null_is_null(data: st.DataObject, name: str) -> None:
    kind, values = {**KINDS, **arrow_columns.TEXTS}[name]
    values = values.filter(lambda value: value == value)
    some = data.draw(st.lists(st.none() | values, max_size=8))
    texts = as_text(pa.array(some, kind))
    assert texts.is_null().to_pylist() == [value is None for value in some]
    there = pa.array([value for value in some if value is not None], kind)
    assert texts.drop_null().to_pylist() == as_text(there).to_pylist()


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_that_are_no_text_are_told_by_their_number(kind: pa.DataType) -> None:
    column = pa.array([b"a", None, "é".encode(), b"\xe9", b"\xff"], kind)
    with pytest.raises(BadValue, match="UTF-8") as raised:
        as_text(column)
    assert raised.value.row == 3


@settings(deadline=None, max_examples=80)
@given(numbers(arrow_columns.NUMBERS))
def test_whole_numbers_of_every_type_are_exact(column: pa.Array) -> None:
    assert as_integers(column).tolist() == [int(value) for value in column.to_pylist()]


WRITTEN: list[Callable[[int], str]] = [
    str,
    lambda number: f" {number} ",
    lambda number: f"{number}.0",
    lambda number: f"{number}.",
    lambda number: f"{number:+}",
    lambda number: f"{number}e0",
    lambda number: f"{number}000e-3",
]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9), st.sampled_from(WRITTEN)),
        max_size=6,
    )
)
def test_whole_numbers_in_text_are_exact_in_any_way_of_writing(
    written: list[tuple[int, Callable[[int], str]]],
) -> None:
    column = pa.array([write(number) for number, write in written], pa.large_string())
    assert as_integers(column).tolist() == [number for number, _ in written]


@pytest.mark.parametrize("write", WRITTEN, ids=[write(7) for write in WRITTEN])
@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**62 + 1, 2**63 - 1, -(2**63)])
def test_a_whole_number_in_text_that_no_float_holds_is_exact(
    number: int, write: Callable[[int], str]
) -> None:
    assert as_integers(pa.array([write(number), "1.0"])).tolist() == [number, 1]
    assert as_integers(pa.array([write(number)])).tolist() == [number]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["18446744073709551615", "1.0"]),
        pa.array(["18446744073709551615", "1"]),
        pa.array([2**64 - 1, 1], pa.uint64()),
        pa.array([Decimal(2**64 - 1), Decimal(1)], pa.decimal128(38, 2)),
    ],
    ids=["text with a point", "text", "uint64", "decimal"],
)
def test_ids_of_64_bits_without_sign_are_exact(column: pa.Array) -> None:
    assert as_integers(column).tolist() == [2**64 - 1, 1]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array(["1", "1.5", "x"]), "'1.5' .*whole number"),
        (pa.array(["1", "x"]), "'x' .*whole number"),
        (pa.array(["1.0", ""]), "'' .*whole number"),
        (pa.array(["1.0", "nan"]), "'nan' .*whole number"),
        (pa.array(["1", "1_000"]), "'1_000' .*whole number"),
        (pa.array(["1", "1e999"]), "'1e999' .*whole number"),
        (pa.array(["1", "36893488147419103232"]), "'36893488147419103232' does not fit"),
        (pa.array([1.0, 0.5]), "0.5 .*whole number"),
        (pa.array([1.0, math.inf]), "inf .*whole number"),
        (pa.array([1.0, -1e19]), "-1e.19 does not fit into 64 bits"),
        (pa.array([1, 0.5], pa.float16()), "0.5 .*whole number"),
        (pa.array([Decimal(1), Decimal("0.25")]), "'0.25' .*whole number"),
    ],
    ids=arrow_columns.type_name,
)
def test_what_is_no_whole_number_is_told_by_its_number(column: pa.Array, text: str) -> None:
    with pytest.raises(BadValue, match=text) as raised:
        as_integers(column)
    assert raised.value.row == 1


@settings(deadline=None, max_examples=80)
@given(numbers())
def test_numbers_of_every_type_are_the_nearest_floats(column: pa.Array) -> None:
    assert as_numbers(column).tolist() == [float(value) for value in column.to_pylist()]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.floats(allow_nan=False) | st.integers(-(2**70), 2**70), max_size=6))
def test_numbers_in_text_are_those_that_python_reads(some: list[float | int]) -> None:
    column = pa.array([str(number) for number in some], pa.large_string())
    assert as_numbers(column).tolist() == [float(number) for number in some]
    spaced = pa.array([f" {number} " for number in some], pa.string())
    assert as_numbers(spaced).tolist() == [float(number) for number in some]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.decimals(-(10**12), 10**12, places=9), min_size=1, max_size=6))
def test_a_decimal_is_the_float_that_its_text_is(some: list[Decimal]) -> None:
    """Arrow's own cast is an ulp off for a third of all decimals, and 0.7 would be below 0.7."""
    column = pa.array(some, pa.decimal128(30, 9))
    assert as_numbers(column).tolist() == [float(number) for number in some]


@pytest.mark.parametrize("text", ["x", "1,5", "1_000", "0x10", "1 2", "--1", "."])
def test_what_is_no_number_is_told_by_its_number(text: str) -> None:
    with pytest.raises(BadValue, match="not a number") as raised:
        as_numbers(pa.array(["1", " 2", text]))
    assert raised.value.row == 2
