"""A value has one form: 102 is 102 however its column stores it, and whatever stands beside it."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from features import oracles_values as oracles
from features.arrow_columns import type_name

from tzmmoe.batch import Column
from tzmmoe.data import labels
from tzmmoe.features.forms import BadValue, as_integers, as_numbers, canonical
from tzmmoe.features.lookup import Hash, Vocabulary

WRITTEN = {
    **{text: text for text in ("102", "007", "1e5", "1.10", "1.05", ".0", "1.0.0", "v1.0", "x")},
    **{text: text for text in ("102.", "1.0 ", "+1.0", "1,0", "1.0e0", "yes", "T", "tRUE", "-0")},
    "102.0": "102",
    "-7.000": "-7",
    "007.0": "007",
    "-0.0": "0",
    "0.0": "0",
    "10.00": "10",
    "12345678901234567890.0": "12345678901234567890",
    "True": "1",
    "true": "1",
    "TRUE": "1",
    "False": "0",
    "false": "0",
    "FALSE": "0",
}
# What the two types of a pair hold are the same values.
PAIRS = [
    (pa.array(["102.0", "7.0", "x"]), pa.array(["102", "7", "x"])),
    (pa.array(["102.0", "-7.0"]), pa.array([102, -7])),
    (pa.array(["102.0", "0.25"]), pa.array([102, 0.25])),
    (pa.array(["True", "False"]), pa.array([True, False])),
    (pa.array(["102.0", "7.0"]), pa.array([102, 7]).cast(pa.decimal128(22, 2))),
]


@pytest.mark.parametrize(("text", "form"), WRITTEN.items())
def test_only_whole_numbers_with_a_point_and_truths_change_their_form(text: str, form: str) -> None:
    assert canonical(pa.array([text, "a"], pa.large_string())).to_pylist() == [form, "a"]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=type_name)
def test_equal_values_have_equal_hashes_words_and_groups(one: pa.Array, other: pa.Array) -> None:
    hashed = Hash(10**9, "MURMUR_HASH", one_form=True)
    assert hashed.find(one)[0].tolist() == hashed.find(other)[0].tolist()
    assert hashed.find(other)[0].tolist() == Hash(10**9, "MURMUR_HASH").find(other)[0].tolist()
    words = {"102": 3, "-7": 4, "7": 5, "0.25": 6, "1": 7, "0": 8, "x": 9}
    rows = Vocabulary(words, 12, 1, one_form=True)
    assert rows.find(one)[0].tolist() == rows.find(other)[0].tolist()
    assert 1 not in rows.find(one)[0]
    groups = [labels.read(Column("g", "group"), column).tolist() for column in (one, other)]
    assert groups[0] == groups[1]


def test_a_vocabulary_that_lists_a_form_keeps_it() -> None:
    rows = Vocabulary({"102": 2, "102.0": 3, "7.0": 4, "True": 5}, 6, 1, one_form=True)
    found = {"102": 2, "102.0": 3, "102.00": 2, "7.0": 4, "7": 4, "7.00": 4, "True": 5, "1": 5}
    found |= {"true": 5, "8": 1, "8.0": 1, "False": 1}
    assert rows.find(pa.array(list(found)))[0].tolist() == list(found.values())
    assert rows.find(pa.array([7.0, 102.0]))[0].tolist() == [4, 2]
    assert rows.find(pa.array([True, False]))[0].tolist() == [5, 1]


def test_exports_that_do_not_ask_for_one_form_find_the_rows_they_found() -> None:
    texts = pa.array(["102.0", "True"], pa.large_string())
    rows, _ = Hash(1000, "MURMUR_HASH").find(texts)
    assert rows.tolist() == [oracles.hashed(1000)(text) for text in texts.to_pylist()]
    assert Vocabulary({"102": 2}, 3, 1).find(texts)[0].tolist() == [1, 1]


ODD = [
    *("1", "0x1F", "-0x1", " 1", "1 ", "1.0", " 1.0", "+1.0", "1e3", "1E3", "1e+3", "+1", "-1"),
    *("-0", "-0.0", "00", "007", "18446744073709551615", "9223372036854775808", "1_0", "inf"),
    *("nan", "NaN", "Infinity", "-inf", "nan(x)", "1e400", "0x1p3", ".5", "5.", "1,0", "1d3"),
    *("1\n", "\t1", "1e-400", "1E-400", "1f", "1L", "True", "true", "FALSE", "yes", "  ", "--1"),
    *("9007199254740993", "9007199254740993.0", "1.5", "123456789012345678901", "1e25", "0b1"),
    *("1.00000000000000000000001", "-3", "\u0661", "\uff11"),
]


def parsed(parse: Callable[[pa.Array], np.ndarray], texts: list[str]) -> list | None:
    """Numbers, as texts; None where some text is not one."""
    try:
        return list(map(repr, parse(pa.array(texts)).tolist()))
    except BadValue:
        return None


@pytest.mark.parametrize("parse", [as_numbers, as_integers])
def test_a_text_is_the_same_number_whatever_texts_stand_beside_it(parse) -> None:
    alone = {text: parsed(parse, [text]) for text in ODD}
    for text in ODD:
        for beside in ODD:
            both = alone[text] + alone[beside] if alone[text] and alone[beside] else None
            assert parsed(parse, [text, beside]) == both, (text, beside)
