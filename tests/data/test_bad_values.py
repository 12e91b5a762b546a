"""The error for a value that cannot be used names its file, row, column and feature."""

from collections.abc import Mapping

import pyarrow as pa
import pytest
from assembled import chained, chunk, id_text, setting
from messages import fails
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
    """2003 rows of numbers, none or two in some of them, with a word in place of one."""
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
def test_a_bad_id_is_reported_with_its_file_and_row(row: int, form: str) -> None:
    """Rows of a file are numbered from 1, even if the chunk begins in the middle of it."""
    assembler = Assembler(features(id_text("f", "user:x", "num_buckets: 9"), setting=setting()), ())
    with fails(DataError, f"{PLACES[row]}, column 'x' (feature 'f'): 'oops' "):
        assembler.assemble(chunk({"x": spoilt(row, form, "oops")}, PIECES))


@pytest.mark.parametrize("row", PLACES)
@pytest.mark.parametrize("form", ["text", "dictionary"])
def test_a_bad_number_is_reported_with_its_file_and_row(row: int, form: str) -> None:
    text = 'raw_feature { feature_name: "f" expression: "user:x" }'
    assembler = Assembler(features(text, setting=setting()), ())
    for word, what, kind in (("oops", "'oops' ", "number"), ("inf", "inf ", "finite")):
        with fails(DataError, f"{PLACES[row]}, column 'x' (feature 'f'): {what}", kind):
            assembler.assemble(chunk({"x": spoilt(row, form, word)}, PIECES))


@pytest.mark.parametrize("row", PLACES)
def test_a_bad_weight_of_a_value_is_reported_with_its_file_and_row(row: int) -> None:
    text = id_text("f", "user:x", "hash_bucket_size: 9 weighted: true")
    cells = [None if number % 5 == 4 else "a:1\x1d\x1db:2" for number in range(2003)]
    cells[row] = "a:1\x1db\x1dc:3"
    with fails(DataError, f"{PLACES[row]}, column 'x' (feature 'f'): 'b' ", "value:weight"):
        Assembler(features(text, setting=setting()), ()).assemble(chunk({"x": cells}, PIECES))


@pytest.mark.parametrize("row", PLACES)
@pytest.mark.parametrize(
    ("column", "good", "bad", "parts"),
    [
        (Column("y", "label", 0, 1), 1, 2, ["label): 2 ", "[0, 1]"]),
        (Column("y", "label"), "1", "oops", ["label): 'oops' ", "number"]),
        (Column("y", "weight", 0), 1, -1, ["weight): -1 ", "weight"]),
    ],
    ids=["range", "text", "weight"],
)
def test_a_bad_label_or_weight_is_reported_with_its_file_and_row(
    row: int, column: Column, good: object, bad: object, parts: list[str]
) -> None:
    cells = [good] * 2003
    cells[row] = bad
    with fails(DataError, f"{PLACES[row]}, column 'y' ({parts[0]}", *parts[1:]):
        Assembler([], [column]).assemble(chunk({"y": cells}, PIECES))


@pytest.mark.parametrize(
    ("text", "columns", "place", "found"),
    [
        (id_text("f", "user:x"), {"x": [{"a": 1}] * 3}, "column 'x'", "struct<a: int64> "),
        (
            id_text("f", "user:x"),
            {"x": pa.array([1, 2, 3], pa.date32())},
            "column 'x'",
            "date32[day] ",
        ),
        (
            'raw_feature { feature_name: "f" expression: "user:x" }',
            {"x": [[[1.0]]] * 3},
            "column 'x'",
            "list<item: list<item: double>> ",
        ),
        (
            id_text("f", "const:a", "num_buckets: 3"),
            {"x": [1, 2, 3]},
            "row 8, const 'a'",
            "'a' ",
        ),
    ],
    ids=["struct", "date", "list of list", "constant"],
)
def test_a_type_or_constant_that_cannot_be_used_is_reported_with_file_column_and_feature(
    text: str, columns: Mapping[str, object], place: str, found: str
) -> None:
    assembler = Assembler(features(text, setting=setting()), ())
    with fails(DataError, f"a.parquet, {place} (feature 'f'): {found}"):
        assembler.assemble(chunk(columns, PIECES[:2]))


def test_a_bad_value_that_came_through_a_feature_names_that_feature() -> None:
    with fails(DataError, "row 1, feature 'h' (feature 'r'): 'a' "):
        chained(id_text("r", "feature:h", "num_buckets: 9"), id_text("h", "user:x"), {"x": ["a"]})


def test_a_label_type_that_cannot_be_used_is_reported_with_file_and_column() -> None:
    with fails(DataError, "a.parquet, column 'y' (label): date32[day] "):
        Assembler([], [Column("y", "label")]).assemble(chunk({"y": pa.array([1], pa.date32())}))
