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


def test_a_comma_may_be_part_of_a_name(tmp_path) -> None:
    [file] = numbered.write_parquet(tmp_path, [1])
    os.link(file, tmp_path / "a,b.parquet")
    Path(file).unlink()
    assert names(tmp_path / "a,b.parquet") == ["a,b.parquet"]
    assert names(f"{tmp_path}/a\\,b.parquet") == ["a,b.parquet"]
    assert names(f"{tmp_path}/a\\,*.parquet") == ["a,b.parquet"]
    assert names(f"{tmp_path}/{{a\\,b,c}}.parquet") == ["a,b.parquet"]


def test_braces_name_choices(folder) -> None:
    assert names(f"{folder}/{{b,a}}.parquet,{folder}/c.{{PQ,pq}}") == [
        *("a.parquet", "b.parquet", "c.PQ")
    ]
    assert names(f"{folder}/{{{{b,a}}.parquet,c.{{PQ,pq}}}}") == ["a.parquet", "b.parquet", "c.PQ"]


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Two days of an hourly job, as Spark leaves them, one of which it is still writing."""
    for day in (1, 2):
        for hour in (0, 1):
            place = tmp_path / f"dt=2024-01-0{day}" / f"hour={hour}"
            place.mkdir(parents=True)
            [file] = numbered.write_parquet(place, [day])
            Path(file).rename(place / f"part-{day}{hour}.parquet")
            (place / f".part-{day}{hour}.parquet.crc").touch()
            (place / "_SUCCESS").touch()
    for hidden in ("_temporary/0/task", ".staging", "_delta_log"):
        (tmp_path / hidden).mkdir(parents=True)
        numbered.write_parquet(tmp_path / hidden, [1])
    return tmp_path


ALL = ["part-10.parquet", "part-11.parquet", "part-20.parquet", "part-21.parquet"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ALL),
        ("**/*.parquet", ALL),
        ("**", ALL),
        ("*", ALL),
        ("dt=*", ALL),
        ("dt=2024-01-02", ALL[2:]),
        ("dt=*/hour=1", [ALL[1], ALL[3]]),
        ("dt=2024-01-0{1,2}/hour=0/*.parquet", [ALL[0], ALL[2]]),
        ("*/*/*", ALL),
        ("_temporary/**/*.parquet", ["0.parquet"]),
        ("_temporary", ["0.parquet"]),
    ],
)
def test_folders_are_searched_to_their_depths_without_hidden_names(days, pattern, expected) -> None:
    assert names(days / pattern) == expected


@pytest.mark.parametrize("pattern", ["**/*.parquet", "*/*/*", "./**/*.parquet", "dt=*"])
def test_a_relative_pattern_leaves_out_the_same_names(days, monkeypatch, pattern) -> None:
    monkeypatch.chdir(days)
    assert names(pattern) == ALL


@pytest.mark.parametrize("pattern", ["*.parquet", "./*.parquet", "**/*.parquet"])
def test_a_name_of_one_letter_is_not_hidden(folder, monkeypatch, pattern) -> None:
    monkeypatch.chdir(folder)
    assert names(pattern) == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize("root", ["_jobs", ".jobs"])
def test_a_hidden_folder_that_is_named_does_not_uncover_what_is_hidden_in_it(days, root) -> None:
    (days / root).mkdir()
    for name in [place.name for place in days.iterdir() if place.name != root]:
        (days / name).rename(days / root / name)
    for pattern in ("", "**", "**/*.parquet", "*/*/*.parquet"):
        assert names(days / root / pattern) == ALL


def test_a_folder_that_cannot_be_searched_is_an_error(days, monkeypatch) -> None:
    listing, locked = os.scandir, f"{days}/dt=2024-01-02"

    def scandir(place: str) -> object:
        if os.path.abspath(place) == locked:
            raise PermissionError(13, "Permission denied", place)
        return listing(place)

    monkeypatch.setattr(os, "scandir", scandir)
    for pattern in ("", "**/*.parquet"):
        rejected(days / pattern, f"{locked}: ", "Permission denied", "readable")


def test_a_link_to_nothing_is_an_error_with_its_target(tmp_path) -> None:
    (tmp_path / "a.parquet").symlink_to("gone.parquet")
    rejected(tmp_path / "a.parquet", "a.parquet: ", "gone.parquet", "--train_input_path")


def test_an_existing_path_goes_before_a_pattern(tmp_path) -> None:
    for name in ("run[1]", "run1", "x{a,b}", "xa"):
        (tmp_path / name).mkdir()
        [file] = numbered.write_parquet(tmp_path / name, [1])
        Path(file).rename(tmp_path / name / f"{name}.parquet")
    assert names(tmp_path / "run[1]") == ["run[1].parquet"]
    assert names(tmp_path / "x{a,b}") == ["x{a,b}.parquet"]
    assert names(tmp_path / "run[1]" / "*.parquet") == ["run[1].parquet"]
    assert names(tmp_path / "run[12]") == ["run1.parquet"]


def link(folder: Path) -> str:
    (folder / "z.parquet").symlink_to("a.parquet")
    return str(folder)


def hard_link(folder: Path) -> str:
    os.link(folder / "a.parquet", folder / "z.parquet")
    return str(folder)


def folder_and_link_to_it(folder: Path) -> str:
    (folder.parent / "again").symlink_to(folder)
    return f"{folder},{folder.parent}/again"


def listed_twice(folder: Path) -> str:
    return f"{folder},{folder}/../{folder.name}/a.parquet"


@pytest.mark.parametrize("twice", [link, hard_link, folder_and_link_to_it, listed_twice])
def test_a_file_that_is_reached_twice_is_read_once_and_told(tmp_path, caplog, twice) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    numbered.write_parquet(folder, [1, 1])
    for old, new in (("0", "a"), ("1", "b")):
        (folder / f"{old}.parquet").rename(folder / f"{new}.parquet")
    assert names(twice(folder)) == ["a.parquet", "b.parquet"]
    says(caplog.text, "a.parquet", "same file", "once")


@pytest.mark.parametrize("pattern", ["", "**/*.[pP]*", "**"])
def test_a_folder_that_holds_itself_is_searched_once_and_told(folder, caplog, pattern) -> None:
    """Two links to it: following both to the system's limit would take 2^40 folders."""
    for name in ("loop", "round"):
        (folder / name).symlink_to(".")
    assert names(folder / pattern) == ["a.parquet", "b.parquet", "c.PQ"]
    says(caplog.text, f"{folder}/loop", "same folder", "once")


def test_home_and_file_paths_are_local(folder, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/a.parquet") == names(f"file://{folder}/a.parquet") == ["a.parquet"]


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
