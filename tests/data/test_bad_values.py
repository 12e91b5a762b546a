"""A value that cannot be used is told with its file, row, column and feature."""

from collections.abc import Mapping

import pyarrow as pa
import pytest
from assembled import chained, chunk, id_text, setting
from parts import features

from tzmmoe.batch import Column
from tzmmoe.data.encode import Assembler
from tzmmoe.data.reading.base import FileRows
from tzmmoe.errors import DataError

PIECES = [FileRows("a.parquet", 7, 2), FileRows("b.parquet", 0, 1), FileRows("b.parquet", 1, 2000)]
PLACES = {
    0: "a.parquet, row 8",
    1: "a.parquet, row 9",
    2: "b.parquet, row 1",
    3: "b.parquet, row 2",
    2002: "b.parquet, row 2,001",
}


def spoilt(row: int, form: str, word: str) -> pa.Array:
    """2003 rows, one with a word in the place of a number, among rows with none and with two."""
    texts: list[str | None] = [
        None if number % 5 == 4 else f"{number % 7}" for number in range(2003)
    ]
    texts[row] = word
    if form == "list":
        return pa.array([None if text is None else ["1", "", text, "2"] for text in texts])
    if form == "separated":
        return pa.array([text if text is None else f"1\x1d\x1d{text}\x1d2" for text in texts])
    column = pa.array(texts)
    return column.dictionary_encode() if form == "dictionary" else column


@pytest.mark.parametrize("row", PLACES)
@pytest.mark.parametrize("form", ["text", "dictionary", "separated", "list"])
def test_a_bad_id_is_told_with_its_file_and_row(row: int, form: str) -> None:
    """Rows of a file count from 1, also where the chunk begins in its middle."""
    assembler = Assembler(features(id_text("f", "user:x", "num_buckets: 9"), setting=setting()), ())
    with pytest.raises(DataError) as raised:
        assembler.assemble(chunk({"x": spoilt(row, form, "oops")}, PIECES))
    found = f"{PLACES[row]}, column 'x' (feature 'f'): 'oops' is no whole number"
    assert str(raised.value) == found


@pytest.mark.parametrize("row", PLACES)
@pytest.mark.parametrize("form", ["text", "dictionary"])
def test_a_bad_number_is_told_with_its_file_and_row(row: int, form: str) -> None:
    text = 'raw_feature { feature_name: "f" expression: "user:x" }'
    assembler = Assembler(features(text, setting=setting()), ())
    for word, what in (
        ("oops", "'oops' is no number"),
        ("inf", "inf is no finite number of 32 bits"),
    ):
        with pytest.raises(DataError) as raised:
            assembler.assemble(chunk({"x": spoilt(row, form, word)}, PIECES))
        assert str(raised.value) == f"{PLACES[row]}, column 'x' (feature 'f'): {what}"


@pytest.mark.parametrize("row", PLACES)
def test_a_bad_weight_of_a_value_is_told_with_its_file_and_row(row: int) -> None:
    text = id_text("f", "user:x", "hash_bucket_size: 9 weighted: true")
    cells = [None if number % 5 == 4 else "a:1\x1d\x1db:2" for number in range(2003)]
    cells[row] = "a:1\x1db\x1dc:3"
    with pytest.raises(DataError) as raised:
        Assembler(features(text, setting=setting()), ()).assemble(chunk({"x": cells}, PIECES))
    found = f"{PLACES[row]}, column 'x' (feature 'f'): 'b' is not of the form value:weight"
    assert str(raised.value) == found


@pytest.mark.parametrize("row", PLACES)
@pytest.mark.parametrize(
    ("column", "good", "bad", "text"),
    [
        (Column("y", "label", 0, 1), 1, 2, "label): 2 is no label within [0, 1] for its loss"),
        (Column("y", "label"), "1", "oops", "label): 'oops' is no number"),
        (Column("y", "weight", 0), 1, -1, "weight): -1 is no weight"),
    ],
    ids=["range", "text", "weight"],
)
def test_a_bad_label_or_weight_is_told_with_its_file_and_row(
    row: int, column: Column, good: object, bad: object, text: str
) -> None:
    cells = [good] * 2003
    cells[row] = bad
    with pytest.raises(DataError) as raised:
        Assembler([], [column]).assemble(chunk({"y": cells}, PIECES))
    assert str(raised.value).startswith(f"{PLACES[row]}, column 'y' ({text}")


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        (
            id_text("f", "user:x"),
            {"x": [{"a": 1}] * 3},
            "a.parquet, column 'x' (feature 'f'): struct<a: int64> cannot be used as values",
        ),
        (
            id_text("f", "user:x"),
            {"x": pa.array([1, 2, 3], pa.date32())},
            "a.parquet, column 'x' (feature 'f'): date32[day] cannot be used as values",
        ),
        (
            'raw_feature { feature_name: "f" expression: "user:x" }',
            {"x": [[[1.0]]] * 3},
            "a.parquet, column 'x' (feature 'f'): list<item: list<item: double>> cannot be used "
            "as values",
        ),
        (
            id_text("f", "const:a", "num_buckets: 3"),
            {"x": [1, 2, 3]},
            "a.parquet, row 8, const 'a' (feature 'f'): 'a' is no whole number",
        ),
    ],
    ids=["struct", "date", "list of list", "constant"],
)
def test_a_type_or_constant_that_cannot_be_used_is_told_with_file_column_and_feature(
    text: str, columns: Mapping[str, object], expected: str
) -> None:
    assembler = Assembler(features(text, setting=setting()), ())
    with pytest.raises(DataError) as raised:
        assembler.assemble(chunk(columns, PIECES[:2]))
    assert str(raised.value) == expected


def test_a_bad_value_that_came_through_a_feature_names_that_feature() -> None:
    with pytest.raises(DataError) as raised:
        chained(id_text("r", "feature:h", "num_buckets: 9"), id_text("h", "user:x"), {"x": ["a"]})
    assert "row 1, feature 'h' (feature 'r'): 'a' is no whole number" in str(raised.value)


def test_a_label_type_that_cannot_be_used_is_told_with_file_and_column() -> None:
    with pytest.raises(DataError, match=r"a.parquet, column 'y' \(label\): date32\[day\] cannot"):
        Assembler([], [Column("y", "label")]).assemble(chunk({"y": pa.array([1], pa.date32())}))
