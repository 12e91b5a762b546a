"""Columns in the names of folders, in files of any kind."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import fails
from numbered import csv_source
from pyarrow import csv

from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.data.reading.partitions import partitions, with_partitions
from tzmmoe.errors import DataError


def test_folders_of_a_key_and_a_value_are_columns_and_others_are_not() -> None:
    path = "/data/v=1/plain/dt=2024-01-01/city=Z%C3%BCrich%2FWest/n=__HIVE_DEFAULT_PARTITION__/a=b"
    expected = {"v": "1", "dt": "2024-01-01", "city": "Zürich/West", "n": None}
    assert partitions(path) == expected
    assert partitions("a.parquet") == partitions("/x/=1/y=/z/a.parquet") == {}


def write(table: pa.Table, file: Path) -> str:
    file.parent.mkdir(parents=True)
    if file.suffix == ".parquet":
        pq.write_table(table, file)
    else:
        csv.write_csv(table, file)
    return str(file)


def rows(source, columns: list[str], skip: int = 0) -> list[dict]:
    return [
        row
        for file in source.files
        for batch in source.read(file, columns, skip)
        for row in batch.to_pylist()
    ]


@pytest.fixture(params=[".parquet", ".csv"])
def source(tmp_path, request):
    files = [
        write(pa.table({"x": ["a", "b"], "y": ["c", "d"]}), tmp_path / f"{part}/p{request.param}")
        for part in ("day=1/y=9", "day=2", "day=__HIVE_DEFAULT_PARTITION__")
    ]
    return with_partitions(
        ParquetSource(files) if request.param == ".parquet" else csv_source(files)
    )


def test_each_row_has_the_values_of_its_folders_and_the_files_own_columns_go_first(source) -> None:
    assert source.columns(source.files[0]) == ["x", "y", "day"]
    days = ["1", "1", "2", "2", None, None]
    expected = [
        {"day": d, "y": y, "x": x} for d, (x, y) in zip(days, ["ac", "bd"] * 3, strict=True)
    ]
    assert rows(source, ["day", "y", "x"]) == expected
    assert rows(source, ["day"], 1) == [{"day": day} for day in ("1", "2", None)]
    assert rows(source, ["x"]) == [{"x": x} for x in "ababab"]
    assert [source.num_rows(file) for file in source.files] == [2, 2, 2]
    assert sum(batch.num_rows for file in source.files for batch in source.read(file, [], 0)) == 6


def test_a_key_that_some_files_lack_is_an_error_with_such_a_file(tmp_path) -> None:
    table = pa.table({"x": [1]})
    files = [write(table, tmp_path / "day=1/a.parquet"), write(table, tmp_path / "other/b.parquet")]
    source = with_partitions(ParquetSource(files))
    source.check_columns(files[0], ["day", "x"])
    with fails(DataError, "b.parquet", "no column 'day'"):
        source.check_columns(files[1], ["day", "x"])


def test_a_model_learns_from_the_names_of_folders_as_from_a_column(tmp_path) -> None:
    """The city is a folder: results are those of files that hold it."""
    plain, parted = tmp_path / "plain", tmp_path / "parted"
    tiny.write_all(plain)
    tiny.write_all(parted)
    for folder in (plain, parted):
        table = pq.read_table(folder / "train")
        table = table.filter(pc.is_valid(table["city"]))
        for file in (folder / "train").iterdir():
            file.unlink()
        for city in sorted(set(table["city"].to_pylist())):
            part = table.filter(pc.equal(table["city"], city))
            name = f"{city}.parquet" if folder == plain else f"city={city}/0.parquet"
            part = part if folder == plain else part.drop_columns("city")
            (folder / "train" / name).parent.mkdir(exist_ok=True)
            pq.write_table(part, folder / "train" / name)
    results = [
        tiny.pipeline(folder, folder / "m", data_config__shuffle=False).fit()
        for folder in (plain, parted)
    ]
    assert results[0] == results[1]
