"""From paths of the config to files, and the source that reads them."""

import logging
import os
from pathlib import Path

import numbered
import pytest
from messages import fails, says

from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.data.reading.files import Reading, open_source
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.errors import DataError


def reading(**changes: object) -> Reading:
    plain = {
        "dataset_type": None,
        "delimiter": ",",
        "with_header": True,
        "types": {},
        "targets": (),
    }
    return Reading(**plain | changes)


def names(path: object, **changes: object) -> list[str]:
    source = open_source(str(path), "--train_input_path", reading(**changes))
    return [Path(file).name for file in source.files]


def rejected(path: object, *parts: str, **changes: object) -> None:
    """The path is an error whose message names the flag and contains all ``parts``."""
    with fails(DataError, *parts):
        names(path, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """b.parquet, a.parquet, c.PQ, and entries that are not data."""
    numbered.write_parquet(tmp_path, [1, 1, 1])
    for old, new in (("0", "b.parquet"), ("1", "a.parquet"), ("2", "c.PQ")):
        (tmp_path / f"{old}.parquet").rename(tmp_path / new)
    for name in ("_SUCCESS", "_tmp.parquet", ".a.parquet", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "nested.parquet").mkdir()
    return tmp_path


def test_a_folder_stands_for_its_data_files_by_name(folder) -> None:
    """Without hidden and temporary ones, other kinds of files, and folders."""
    assert names(folder) == names(f"{folder}/") == ["a.parquet", "b.parquet", "c.PQ"]


def test_a_glob_stands_for_the_files_that_fit_by_name(folder) -> None:
    assert names(folder / "[ab].p*") == ["a.parquet", "b.parquet"]
    assert names(folder / "**" / "c.*") == ["c.PQ"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path) -> None:
    [file] = numbered.write_parquet(tmp_path, [1])
    Path(file).rename(tmp_path / "day[1].parquet")
    assert names(tmp_path / "day[1].parquet") == ["day[1].parquet"]


def test_paths_by_commas_keep_their_order(folder) -> None:
    both = f"{folder}/b.parquet, {folder}/a.*"
    assert names(both) == ["b.parquet", "a.parquet"]


def test_a_file_that_is_listed_twice_is_an_error(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    for path in (f"{folder},{folder}/a.parquet", f"a.parquet,{folder}/a.parquet"):
        rejected(path, "a.parquet: ", "twice", "--train_input_path", "remove")


def test_a_missing_file_is_an_error_with_the_nearest_name_and_the_flag(folder) -> None:
    rejected(folder / "a.parket", "a.parket: ", "--train_input_path", "did you mean 'a.parquet'")
    rejected(folder / "nowhere" / "x.csv", "x.csv: does not exist", "--train_input_path")
    rejected(folder / "*.csv", "*.csv: no file", "--train_input_path")
    rejected(f"{folder}/a.parquet,,", "--train_input_path", "empty path", "comma")
    rejected("", "--train_input_path", "empty path")


def test_a_pipe_which_may_never_have_a_writer_is_rejected(tmp_path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with fails(DataError, "rows.csv: ", "pipe", "--in"):
        open_source(str(tmp_path / "rows.csv"), "--in", reading())


def test_a_folder_without_data_files_is_an_error(tmp_path) -> None:
    (tmp_path / "notes.md").touch()
    rejected(tmp_path, f"{tmp_path}: ", "no .parquet, .pq, .csv", "folder")


@pytest.mark.parametrize("name", ["part.0.parquet", "part.csv", "part.csv.gz"])
def test_a_folder_of_folders_is_an_error_with_the_glob_for_their_files(tmp_path, name) -> None:
    for day in ("date=2024-01-01", "date=2024-01-02"):
        (tmp_path / day / "hour=0").mkdir(parents=True)
        (tmp_path / day / "hour=0" / name).touch()
    glob = f"{tmp_path}/**/*{name.removeprefix('part').removeprefix('.0')}"
    rejected(tmp_path, f"{tmp_path}: ", "subfolders", f" {glob} ")
    assert names(glob) == [name, name]


@pytest.mark.parametrize("path", ["odps://project/tables/t", "s3://bucket/a.parquet"])
def test_only_local_files_are_read(path) -> None:
    parts = (f"{path}: ", "--train_input_path", "local Parquet or CSV")
    rejected(path, *parts, dataset_type="OdpsDataset")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.parquet", ParquetSource),
        ("a.PARQUET", ParquetSource),
        ("a.pq", ParquetSource),
        ("a.csv", CsvSource),
        ("a.tsv", CsvSource),
        ("a.txt", CsvSource),
        ("a.csv.gz", CsvSource),
        ("a.CSV.zst", CsvSource),
    ],
)
@pytest.mark.parametrize("dataset_type", [None, "OdpsDataset", "ParquetDataset", "CsvDataset"])
def test_the_suffix_decides_the_reader_whatever_dataset_type_says(
    tmp_path, caplog, name, kind, dataset_type
) -> None:
    (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING):
        source = open_source(str(tmp_path / name), "--x", reading(dataset_type=dataset_type))
    assert type(source) is kind
    fits = dataset_type in (None, kind.__name__.replace("Source", "Dataset"))
    assert (f"dataset_type is {dataset_type}, but" in caplog.text) == (not fits)


def test_dataset_type_decides_the_reader_of_an_unknown_suffix(tmp_path) -> None:
    (tmp_path / "part-0").touch()
    parts = ("part-0: ", "data_config.dataset_type", "ParquetDataset or CsvDataset")
    rejected(tmp_path / "part-0", *parts)
    rejected(tmp_path / "part-0", *parts, dataset_type="OdpsDataset")
    for kind in (ParquetSource, CsvSource):
        dataset_type = kind.__name__.replace("Source", "Dataset")
        path = str(tmp_path / "part-0")
        assert type(open_source(path, "--x", reading(dataset_type=dataset_type))) is kind


def test_files_of_several_kinds_are_not_read_together(folder) -> None:
    (folder / "d.csv").touch()
    rejected(folder, f"{folder}: ", "several kinds", "one kind")


def test_settings_for_csv_without_effect_on_parquet_are_warned_of(folder, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        names(folder, only_csv=["data_config.delimiter"])
    says(caplog.text, "data_config.delimiter", "no effect", str(folder))
