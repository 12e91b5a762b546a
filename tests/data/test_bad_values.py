"""The error for a value that cannot be used names its file, row, column and feature."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from assembled import chained, chunk, id_text, setting
from messages import fails
from parts import features

from tzmmoe.batch import Column
from tzmmoe.data.encode import Assembler
from tzmmoe.data.reading.base import FileRows
from tzmmoe.data.reading.files import Reading, open_source
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


RAW = 'raw_feature { feature_name: "f" expression: "user:x" '
IDS, ROWS = ("oops", "1.5", "9" * 30), "num_buckets: 9"
# A feature, a value that it cannot use, and what to do.
REMEDIES = [
    *((id_text("f", "user:x", ROWS), word, "hash_bucket_size") for word in IDS),
    *((id_text("f", "user:x", ROWS), word, "na_values") for word in IDS),
    (f"{RAW}}}", "oops", "number_format"),
    (f"{RAW}}}", "12%", "number_format"),
    (f"{RAW}}}", "n/a", "na_values"),
    (f"{RAW} boundaries: [1, 2] embedding_dim: 2 }}", "oops", "number_format"),
    (f"{RAW}}}", "1e300", "normalizer"),
    (f'{RAW} normalizer: "method=expression,expr=log(x)" }}', "0", "normalizer"),
    (f"{RAW} number_format {{ }} }}", "oops", "na_values"),
    (id_text("f", "user:x", f"{ROWS} date_part: YEAR"), "oops", "date_format"),
    (
        id_text("f", "user:x", f'{ROWS} date_part: YEAR date_format: "epoch_second"'),
        "oops",
        "date_format",
    ),
    (
        id_text("f", "user:x", f'{ROWS} date_part: YEAR date_format: "epoch_second"'),
        "18446744073709551615",
        "date_format",
    ),
    (id_text("f", "user:x", "hash_bucket_size: 9 weighted: true"), "a", "colon"),
    (id_text("f", "user:x", "hash_bucket_size: 9 weighted: true"), "a:1e99", "give one below"),
]


@pytest.mark.parametrize(("text", "word", "remedy"), REMEDIES)
def test_a_value_of_a_feature_that_cannot_be_used_is_told_with_what_to_do(
    text: str, word: str, remedy: str
) -> None:
    assembler = Assembler(features(text, setting=setting()), ())
    with fails(DataError, "row 8, column 'x' (feature 'f'): ", "; ", remedy):
        assembler.assemble(chunk({"x": [word, word]}, PIECES[:1]))


LABELS = {"label": Column("y", "label"), "weight": Column("y", "weight", 0)}
CLASSES = {
    "class": Column("y", "label", num_classes=2),
    "distribution": Column("y", "label", num_classes=3),
}


@pytest.mark.parametrize(
    ("column", "value", "remedy"),
    [
        (LABELS["label"], "oops", "leave the label empty"),
        (LABELS["label"], "1e99", "give one"),
        (LABELS["weight"], "oops", "give a number"),
        (LABELS["weight"], None, "give a number"),
        (LABELS["weight"], "inf", "0 or more"),
        (CLASSES["class"], "0.5", "number the classes from 0"),
        (Column("y", "label", 0, 1, num_classes=2), "7", "renumber"),
        (CLASSES["distribution"], [0.5, 0.5], "give one for each"),
        (CLASSES["distribution"], [0.5, 0.5, 0.5], "must add up to 1"),
        (CLASSES["distribution"], [0.5, 0.5, None], "all of them or none"),
        (CLASSES["distribution"], [1.5, -0.5, 0.0], "correct it"),
    ],
)
def test_a_label_or_weight_that_cannot_be_used_is_told_with_what_to_do(
    column: Column, value: object, remedy: str
) -> None:
    with fails(DataError, "row 8, column 'y'", "; ", remedy):
        Assembler([], [column]).assemble(chunk({"y": [value, value]}, PIECES[:1]))


@pytest.mark.parametrize("form", ["text", "dictionary", "file"])
@pytest.mark.parametrize(
    "pair", ["yes no", "Yes No", "YES NO", "y n", "Y N", "t f", "T F", "on off", "ON off"]
)
def test_answers_as_labels_are_told_to_be_written_as_1_and_0(
    tmp_path: Path, pair: str, form: str
) -> None:
    """Alike in Parquet, as texts or a dictionary, and in a CSV file."""
    words = pair.split()
    column = pa.array(words)
    if form == "dictionary":
        column = column.dictionary_encode()
    if form == "file":
        column = of_csv(tmp_path, words)
    with fails(DataError, f"row 8, column 'y' (label): {words[0]!r}", "write 1 and 0"):
        Assembler([], [LABELS["label"]]).assemble(chunk({"y": column}, PIECES[:1]))


@pytest.mark.parametrize("form", ["text", "dictionary", "file", "booleans"])
@pytest.mark.parametrize("pair", ["true false", "True False", "TRUE FALSE"])
def test_booleans_as_labels_are_1_and_0(tmp_path: Path, pair: str, form: str) -> None:
    words = pair.split()
    column = {"booleans": pa.array([True, False]), "text": pa.array(words)}.get(form)
    if form == "dictionary":
        column = pa.array(words).dictionary_encode()
    if form == "file":
        column = of_csv(tmp_path, words)
    made = Assembler([], [LABELS["label"]]).assemble(chunk({"y": column}, PIECES[:1]))
    assert made.columns["y"].tolist() == [1, 0]


def of_csv(folder: Path, words: list[str]) -> pa.Array:
    """A column as a CSV file has it."""
    (folder / "a.csv").write_text("\n".join(["y", *words, ""]))
    source = open_source(str(folder / "a.csv"), "--data", Reading(None, ",", True, {}, ["y"]))
    (batch,) = source.read(source.files[0], ["y"], 0)
    return batch.column(0)


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
