"""From values to rows of a table, by each of the four ways."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from features import oracles_values as oracles
from features.arrow_columns import FRACTIONS, NUMBERS, TEXTS, type_name
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.errors import ConfigError
from tzmmoe.features.forms import BadValue
from tzmmoe.features.lookup import (
    Boundaries,
    Hash,
    Identity,
    Lookup,
    Vocabulary,
    read_vocab_file,
    vocabulary,
)

KINDS = {**NUMBERS, **FRACTIONS, **TEXTS}
ENDS = [-(2**63), -(2**31), -8, -7, -1, 0, 1, 6, 7, 8, 2**31, 2**63 - 1]


@st.composite
def present(draw: st.DrawFn, kinds: dict) -> pa.Array:
    """Values without nulls, NaN and empty texts."""
    kind, values = kinds[draw(st.sampled_from(sorted(kinds)))]
    some = draw(st.lists(values.filter(lambda value: value == value and value != ""), max_size=12))
    return pa.array(some, kind)


def row_of_each(flat: pa.Array, row: Callable[[oracles.Value], int]) -> list[int]:
    exact = oracles.NARROW.get(flat.type, lambda value: value)
    return [row(exact(value)) for value in flat.to_pylist()]


def texts_only(flat: pa.Array) -> pa.Array:
    """As column.read hands them over."""
    is_text = flat.type in [kind for kind, _ in TEXTS.values()]
    return flat.cast(pa.large_string()) if is_text else flat


@settings(deadline=None, max_examples=80)
@given(present(KINDS), st.integers(1, 10**6) | st.integers(2**62, 2**63 - 1))
def test_a_hash_is_that_of_the_text_modulo_the_rows(flat: pa.Array, size: int) -> None:
    flat = texts_only(flat)
    rows, unrecognized = Hash(size, "MURMUR_HASH").find(flat)
    assert rows.tolist() == row_of_each(flat, oracles.hashed(size))
    assert unrecognized is None


@pytest.mark.parametrize("policy", ["ROW_ZERO", "MODULO"])
@settings(deadline=None, max_examples=80)
@given(flat=present(NUMBERS), size=st.integers(1, 40))
def test_a_number_is_its_row_and_the_policy_places_the_rest(
    policy: str, flat: pa.Array, size: int
) -> None:
    rows, outside = Identity(size, policy, encoded=False).find(flat)
    assert rows.tolist() == row_of_each(flat, oracles.itself(size, policy))
    expected = [not 0 <= int(number) < size for number in flat.to_pylist()]
    assert (outside.tolist() if outside is not None else [False] * len(flat)) == expected


@pytest.mark.parametrize("policy", ["ROW_ZERO", "MODULO"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.large_string(), pa.decimal128(38, 0)], ids=str)
def test_ids_at_the_ends_of_a_table_and_of_integers(policy: str, kind: pa.DataType) -> None:
    column = pa.array([Decimal(end) for end in ENDS], pa.decimal128(38, 0))
    flat = column.cast(pa.int64()).cast(kind) if kind == pa.large_string() else column.cast(kind)
    rows, outside = Identity(7, policy, encoded=False).find(flat)
    assert rows.tolist() == [oracles.itself(7, policy)(end) for end in ENDS]
    assert outside.tolist() == [not 0 <= end < 7 for end in ENDS]


@pytest.mark.parametrize("kind", [pa.uint64(), pa.large_string()], ids=str)
def test_ids_of_64_bits_without_sign_are_taken_modulo_the_rows(kind: pa.DataType) -> None:
    ids = [0, 6, 7, 2**63 - 1, 2**63, 2**64 - 1]
    flat = pa.array(ids, pa.uint64()).cast(kind)
    rows, _ = Identity(7, "MODULO", encoded=False).find(flat)
    assert rows.tolist() == [number % 7 for number in ids]


@pytest.mark.parametrize(
    "flat",
    [pa.array([0, 6, 7]), pa.array(["0", "6", "7"]), pa.array([0, 6, 7], pa.uint64())],
    ids=type_name,
)
def test_an_id_outside_is_an_error_where_the_config_says_so(flat: pa.Array) -> None:
    with pytest.raises(BadValue, match=r"7 is outside \[0, 7\).*MODULO") as raised:
        Identity(7, "ERROR", encoded=False).find(flat)
    assert raised.value.row == 2
    rows, outside = Identity(7, "ERROR", encoded=False).find(flat.slice(0, 2))
    assert (rows.tolist(), outside) == ([0, 6], None)


def test_raw_values_where_encoded_ids_are_expected_lead_to_the_setting() -> None:
    with pytest.raises(BadValue, match=r"'Ada' .*whole number.*FG_NONE.*FG_DAG"):
        Identity(7, "ROW_ZERO", encoded=True).find(pa.array(["1", "Ada"]))


WORDS = st.lists(st.text("ab1é", min_size=1, max_size=2), min_size=1, max_size=6, unique=True)
OTHERS = {"string": (pa.large_string(), st.text("ab1é", min_size=1, max_size=2))}


@settings(deadline=None, max_examples=80)
@given(WORDS, present(OTHERS), st.text("ab1é", max_size=2))
def test_rows_of_a_list_are_default_unknown_and_the_words(
    words: list[str], flat: pa.Array, default: str
) -> None:
    """A default that is one of the words has the row of the word."""
    table = vocabulary(words, default, None)
    known = {word: 2 + place for place, word in enumerate(words)}
    if default and default not in known:
        known[default] = 0
    assert table.rows == len(words) + 2
    assert_finds(table, flat, known, unknown=1)


@settings(deadline=None, max_examples=80)
@given(WORDS, present(OTHERS), st.data())
def test_rows_of_a_list_with_a_row_for_unknown_words_are_just_the_words(
    words: list[str], flat: pa.Array, data: st.DataObject
) -> None:
    unknown = data.draw(st.integers(0, len(words) - 1))
    table = vocabulary(words, "", unknown)
    assert table.rows == len(words)
    assert_finds(table, flat, {word: place for place, word in enumerate(words)}, unknown)


@settings(deadline=None, max_examples=80)
@given(
    st.dictionaries(st.text("ab1é", min_size=1, max_size=2), st.integers(2, 9), max_size=6),
    present(OTHERS),
    st.text("ab1é", max_size=2),
)
def test_rows_of_a_dictionary_are_its_own_with_two_before(
    words: dict[str, int], flat: pa.Array, default: str
) -> None:
    table = vocabulary(words, default, None)
    assert table.rows == max(words.values(), default=1) + 1
    known = {default: 0, **words} if default else words
    assert_finds(table, flat, known, unknown=1)


def assert_finds(table: Lookup, flat: pa.Array, known: dict[str, int], unknown: int) -> None:
    rows, unrecognized = table.find(flat)
    assert rows.tolist() == row_of_each(flat, oracles.known(known, unknown))
    expected = [text not in known for text in flat.to_pylist()]
    assert (unrecognized.tolist() if unrecognized is not None else [False] * len(flat)) == expected


@settings(deadline=None, max_examples=100)
@given(present(NUMBERS))
def test_numbers_are_known_by_their_text(flat: pa.Array) -> None:
    words = [str(number) for number in range(-3, 20)]
    known = {word: place for place, word in enumerate(words)}
    rows, _ = vocabulary(words, "", 3).find(flat)
    assert rows.tolist() == row_of_each(flat, oracles.known(known, 3))


def test_a_row_of_unknown_words_beyond_the_vocabulary_is_a_fault() -> None:
    with pytest.raises(ConfigError, match=r"default_bucketize_value.*is 2.*rows 0 to 1"):
        vocabulary(["a", "b"], "", 2)


def test_a_word_that_is_listed_twice_is_a_fault() -> None:
    with pytest.raises(ConfigError, match=r"vocab_list.*lists a, b more than once"):
        vocabulary(["a", "b", "c", "a", "b"], "", None)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(-50, 50).map(lambda n: n / 10), min_size=1, max_size=6, unique=True),
    st.lists(st.integers(-60, 60).map(lambda n: n / 10), max_size=12),
)
def test_a_bucket_is_the_number_of_boundaries_that_are_not_larger(
    boundaries: list[float], numbers: list[float]
) -> None:
    table = Boundaries(sorted(boundaries))
    assert table.rows == len(boundaries) + 1
    expected = [sum(boundary <= number for boundary in boundaries) for number in numbers]
    texts = pa.array([str(number) for number in numbers], pa.large_string())
    for flat in (pa.array(numbers, pa.float64()), texts):
        assert table.find(flat)[0].tolist() == expected


def test_zero_is_in_the_bucket_that_begins_with_zero() -> None:
    """The example of TorchEasyRec's tests."""
    assert Boundaries([0, 150, 1500]).find(pa.array([0]))[0].tolist() == [1]


@pytest.mark.parametrize("given_boundaries", [[1, 0], [0, 0], [0, float("nan")], [float("nan")]])
def test_boundaries_that_do_not_rise_are_a_fault(given_boundaries: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"boundaries: .*increasing"):
        Boundaries(given_boundaries)


def written(folder: Path, content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    (folder / "words.txt").write_bytes(content)
    return "words.txt"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a\nb\nc\n", {"a": 0, "b": 1, "c": 2}),
        ("a\nb\nc", {"a": 0, "b": 1, "c": 2}),
        ("a\r\nb\r\n", {"a": 0, "b": 1}),
        ("\ufeffa\nb\n", {"a": 0, "b": 1}),
        ("a 1\nb 0\n", {"a": 1, "b": 0}),
        ("new york 1\nparis 0\n", {"new york": 1, "paris": 0}),
        ("iphone 7\niphone 8\n", {"iphone 7": 0, "iphone 8": 1}),
        ("iphone 0\niphone 0 x\n", {"iphone 0": 0, "iphone 0 x": 1}),
        ("a\t5\nb\t0\n", {"a": 5, "b": 0}),
        ("new york\t3\nparis\t3\n", {"new york": 3, "paris": 3}),
        ("a\u2028b\x1dc\x0b\nd\n", {"a\u2028b\x1dc\x0b": 0, "d": 1}),
        ("10²\na ²\n", {"10²": 0, "a ²": 1}),
        ("0\n1\n", {"0": 0, "1": 1}),
        ("東京\né\n", {"東京": 0, "é": 1}),
    ],
)
def test_a_vocabulary_file_has_a_word_or_a_word_and_its_row_on_each_line(
    tmp_path: Path, content: str, words: dict[str, int]
) -> None:
    assert read_vocab_file(written(tmp_path, content), tmp_path) == words


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("a\n\nb\n", "an empty line"),
        ("a\nb\n\n", "an empty line"),
        ("a\nb\na\n", "lists a more than once"),
        ("a\t0\na\t1\n", "lists a more than once"),
        (b"a\n\xff\n", "UTF-8"),
        ("a\t0\nb\t9223372036854775808\n", "gives 'b' row 9,223,372,036,854,775,808"),
    ],
)
def test_a_vocabulary_file_that_cannot_be_used_is_a_fault(
    tmp_path: Path, content: str | bytes, text: str
) -> None:
    with pytest.raises(ConfigError, match=f"vocab_file.*{text}"):
        read_vocab_file(written(tmp_path, content), tmp_path)


def test_a_vocabulary_file_is_looked_for_beside_the_config_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder, word in ((beside, "beside"), (here, "here")):
        folder.mkdir()
        written(folder, word)
    monkeypatch.chdir(here)
    assert read_vocab_file("words.txt", beside) == {"beside": 0}
    assert read_vocab_file("words.txt", tmp_path) == {"here": 0}
    assert read_vocab_file(str(beside / "words.txt"), tmp_path) == {"beside": 0}
    with pytest.raises(ConfigError, match=r"vocab_file: none.txt does not exist"):
        read_vocab_file("none.txt", tmp_path)


def test_an_empty_vocabulary_knows_nothing() -> None:
    assert Vocabulary({}, 2, 1).find(pa.array(["a"]))[0].tolist() == [1]
