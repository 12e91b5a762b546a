"""Rows held out of training files: which ones, and that a part reads like a file of its own."""

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.data.reading.split import EVALUATION, TRAINING, Split, SplitSource
from tzmmoe.errors import DataError

ROWS = 5000
RANDOM = np.random.default_rng(5)
TABLE = pa.table(
    {
        "row": pa.array(range(ROWS)),
        "user": pa.array(RANDOM.integers(0, 900, ROWS)),
        "word": pa.array(RANDOM.choice(["a", "b", "007", "x y"], ROWS)),
        "price": pa.array(np.round(RANDOM.normal(size=ROWS), 3)),
        "gaps": pa.array(
            [None if RANDOM.random() < 0.3 else int(RANDOM.integers(9)) for _ in range(ROWS)]
        ),
        "truth": pa.array(RANDOM.random(ROWS) < 0.5),
    }
)


def parquet(table: pa.Table, file: Path) -> Source:
    pq.write_table(table, file, row_group_size=700)
    return ParquetSource([str(file)])


def text(table: pa.Table, file: Path) -> Source:
    csv.write_csv(table, file)
    return CsvSource([str(file)], delimiter=",", with_header=True, names=[], types={}, targets=())


def rows_of(source: Source, skip: int = 0) -> list[int]:
    file = source.files[0]
    return [int(v.as_py()) for batch in source.read(file, ["row"], skip) for v in batch["row"]]


def parts(source: Source, by: str | None, fraction: float = 0.2) -> tuple[Source, Source]:
    split = Split(fraction, by)
    return SplitSource(source, split, TRAINING), SplitSource(source, split, EVALUATION)


@pytest.mark.parametrize("by", [None, "user", "word", "price", "gaps", "truth"])
def test_each_row_is_in_one_part_and_the_rows_of_a_value_are_together(tmp_path, by):
    training, evaluation = (rows_of(part) for part in parts(parquet(TABLE, tmp_path / "x.pq"), by))
    assert sorted(training + evaluation) == list(range(ROWS))
    if by:
        values = TABLE[by].to_pylist()
        seen = {values[row] for row in training}
        assert not seen & {values[row] for row in evaluation}


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9])
def test_about_the_fraction_is_held_out(tmp_path, fraction):
    """Within five standard deviations of a binomial of rows, or of users."""
    source = parquet(TABLE, tmp_path / "x.pq")
    users = np.array(TABLE["user"])
    for by, count in ((None, ROWS), ("user", len(np.unique(users)))):
        held = rows_of(parts(source, by, fraction)[1])
        found = len(np.unique(users[held])) if by else len(held)
        assert abs(found - count * fraction) < 5 * np.sqrt(count * fraction * (1 - fraction))


@pytest.mark.parametrize("by", [None, "user"])
def test_the_order_of_rows_and_their_neighbours_decide_nothing(tmp_path, by):
    order = RANDOM.permutation(ROWS)[:3000]
    before = set(rows_of(parts(parquet(TABLE, tmp_path / "a.pq"), by)[1]))
    after = set(rows_of(parts(parquet(TABLE.take(order), tmp_path / "b.pq"), by)[1]))
    assert after == before & set(order.tolist())


FORMS = {
    "user": [pa.int16(), pa.float64(), pa.string(), pa.decimal128(22, 2)],
    "gaps": [pa.int64(), pa.float32(), pa.large_string()],
    "truth": [pa.int8(), pa.float64()],
    "word": [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
}


@pytest.mark.parametrize("by", FORMS)
def test_what_stores_the_deciding_column_decides_nothing(tmp_path, by):
    expected = rows_of(parts(parquet(TABLE, tmp_path / "x.pq"), by)[1])
    assert rows_of(parts(text(TABLE, tmp_path / "x.csv"), by)[1]) == expected
    for number, kind in enumerate(FORMS[by]):
        column = TABLE[by].combine_chunks().cast(kind)
        other = TABLE.set_column(TABLE.schema.get_field_index(by), by, column)
        source = parquet(other, tmp_path / f"{number}.pq")
        assert rows_of(parts(source, by)[1]) == expected, kind


def test_rows_without_a_value_are_trained_on(tmp_path):
    blank = pa.table(
        {"row": range(6), "by": [None, "", None, "", None, None], "number": [float("nan")] * 6}
    )
    for by in ("by", "number"):
        training, _ = parts(parquet(blank, tmp_path / "x.pq"), by, 0.99)
        assert rows_of(training) == list(range(6))


@pytest.mark.parametrize("kind", [parquet, text])
@pytest.mark.parametrize("by", [None, "user"])
def test_a_part_is_read_from_any_of_its_rows_on(tmp_path, kind, by):
    for part in parts(kind(TABLE, tmp_path / "x.csv"), by):
        whole = rows_of(part)
        assert part.num_rows(part.files[0]) == len(whole)
        for skip in (1, 17, 650, len(whole) - 1, len(whole), len(whole) + 5):
            assert rows_of(part, skip) == whole[skip:]
        for row in (0, 1, 500, len(whole) - 1):
            assert part.row_number(part.files[0], row) == whole[row]


NESTED = {
    "list": pa.array([[1, 2], [2, 1], [1], [], None, [1, 2]] * 50),
    "map": pa.array(
        [[("a", 1.0)], [("a", 2.0)], [("b", 1.0)], [], None, [("a", 1.0)]] * 50,
        pa.map_(pa.string(), pa.float32()),
    ),
    "bytes": pa.array([b"\xff", b"\xfe", b"a", b"", None, b"\xff"] * 50),
    "day": pa.array([datetime.date(2024, 1, day) for day in (1, 2, 3, 4, 5, 1)] * 50),
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("fraction", [0.3, 0.6])
def test_whole_rows_are_hashed_with_columns_of_any_type(tmp_path, name, fraction):
    """Equal rows are together; their file is written in pieces of other sizes."""
    table = pa.table({"x": NESTED[name]})
    sides = []
    for size in (7, 300):
        pq.write_table(table, tmp_path / "x.pq", row_group_size=size)
        held = SplitSource(
            ParquetSource([str(tmp_path / "x.pq")]), Split(fraction, None), EVALUATION
        )
        file = held.files[0]
        sides.append([held.row_number(file, row) for row in range(held.num_rows(file))])
    assert sides[0] == sides[1]
    places = set(sides[0])
    assert all((row in places) == (row % 6 in places) for row in range(300))
    assert (0 in places) == (5 in places)


def test_a_column_of_lists_cannot_decide(tmp_path):
    source = parquet(pa.table({"row": [1, 2], "tags": [[1], [2]]}), tmp_path / "x.pq")
    with pytest.raises(DataError, match=r"x\.pq.*'tags'.*eval_split\.by"):
        rows_of(parts(source, "tags")[0])


def test_no_column_of_that_name(tmp_path):
    training, _ = parts(parquet(TABLE, tmp_path / "x.pq"), "usr")
    with pytest.raises(DataError, match=r"'usr'.*did you mean 'user'"):
        training.check_columns(training.files[0], ["row"])
