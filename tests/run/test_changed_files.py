"""What became of the files that a checkpoint has read is told by the run that resumes from it."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import fails, says
from pyarrow import csv

from tzmmoe.data.recorded import Fate, FileRecord, fate
from tzmmoe.errors import ConfigError, DataError, UserError
from tzmmoe.pipeline import Pipeline
from tzmmoe.run.changes.report import ChangedError
from tzmmoe.system import checkpoint
from tzmmoe.system.digest import sha256

STEPS = 3  # of 32 rows: all of the first file's 70, 26 of the second's, none of the third's


def pipeline(folder: Path, *, steps: int = STEPS + 1, **changes: object) -> Pipeline:
    settings = {
        "train_config.num_steps": steps,
        "train_config.gradient_accumulation_steps": 1,
        "data_config.batch_size": 32,
        "data_config.shuffle": "false",
        "data_config.num_workers": 0,
        "train_input_path": folder / "data" / "train",
        "eval_input_path": "",
    }
    settings |= changes
    model_dir = settings.pop("model_dir", folder / "run")
    return tiny.pipeline(folder / "data", model_dir, **settings)


@pytest.fixture(scope="module", params=[".csv", ".parquet"])
def interrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of three files, in a folder with a run that stopped within the second of them."""
    folder = tmp_path_factory.mktemp("changed") / "before"
    tiny.write_all(folder / "data", suffix=request.param)
    config = folder / "data" / "tiny.config"
    config.write_text(config.read_text().replace("num_epochs: 2", ""))
    pipeline(folder, steps=STEPS).fit()
    return folder


@pytest.fixture
def folder(interrupted: Path, tmp_path: Path) -> Path:
    """The same files and run, by themselves; times of modification are kept."""
    moved = tmp_path / "before"
    shutil.copytree(interrupted, moved)
    (run,) = checkpoint.find(moved / "run")
    for name in ("state.json", "pipeline.config"):  # which hold absolute paths
        text = (run / name).read_text().replace(str(interrupted), str(moved))
        (run / name).write_text(text)
    sums = json.loads((run / "checksums.json").read_text())
    sums |= {name: sha256(run / name) for name in ("state.json", "pipeline.config")}
    (run / "checksums.json").write_text(json.dumps(sums))
    return moved


def file(folder: Path, number: int) -> Path:
    (found,) = (folder / "data" / "train").glob(f"{number}.*")
    return found


def table(path: Path) -> pa.Table:
    return csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    tiny.write(change(table(path)), path)


def first_rows_removed(folder: Path) -> Path:
    rewrite(file(folder, 0), lambda rows: rows.slice(20))
    return file(folder, 0)


def last_row_removed(folder: Path) -> Path:
    rewrite(file(folder, 0), lambda rows: rows.slice(0, 69))
    return file(folder, 0)


def cut_below_the_position(folder: Path) -> Path:
    rewrite(file(folder, 1), lambda rows: rows.slice(0, 10))
    return file(folder, 1)


def cut_above_the_position(folder: Path) -> Path:
    rewrite(file(folder, 1), lambda rows: rows.slice(0, 40))
    return file(folder, 1)


def other_rows(folder: Path) -> Path:
    rewrite(file(folder, 0), lambda rows: tiny.rows(5000, rows.num_rows))
    return file(folder, 0)


def another_order_of_rows(folder: Path) -> Path:
    rewrite(file(folder, 1), lambda rows: rows.take(list(range(rows.num_rows))[::-1]))
    return file(folder, 1)


def two_files_swapped(folder: Path) -> Path:
    first, second, aside = file(folder, 0), file(folder, 1), folder / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    return first


def a_value_of_the_same_length(folder: Path) -> Path:
    content = bytearray(file(folder, 0).read_bytes())
    place = content.index(b"city", 600)
    content[place : place + 4] = b"CITY"
    file(folder, 0).write_bytes(content)
    return file(folder, 0)


def a_read_file_grown_in_front(folder: Path) -> Path:
    rewrite(file(folder, 0), lambda rows: pa.concat_tables([tiny_rows(rows, 5), rows]))
    return file(folder, 0)


def tiny_rows(like: pa.Table, count: int) -> pa.Table:
    return tiny.rows(9000, count).cast(like.schema)


def emptied(folder: Path) -> Path:
    rewrite(file(folder, 0), lambda rows: rows.slice(0, 0))
    return file(folder, 0)


def with_column(rows: pa.Table, name: str, values: list | pa.Array | pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def one_label_turned(rows: pa.Table) -> pa.Table:
    labels = rows["click"].to_pylist()
    return with_column(rows, "click", pa.array([1 - labels[0], *labels[1:]]))


def missing_values_filled(rows: pa.Table) -> pa.Table:
    return with_column(rows, "city", [[text or "nowhere" for text in rows["city"].to_pylist()]])


def a_column_that_nobody_reads_dropped(rows: pa.Table) -> pa.Table:
    return rows.drop_columns(["row"])


def a_column_that_nobody_reads_renamed(rows: pa.Table) -> pa.Table:
    return rows.rename_columns(["line", *rows.column_names[1:]])


def columns_in_another_order(rows: pa.Table) -> pa.Table:
    return rows.select(rows.column_names[::-1])


def text_in_place_of_numbers(rows: pa.Table) -> pa.Table:
    return with_column(rows, "user", rows["user"].cast(pa.string()))


def sorted_by_the_label(rows: pa.Table) -> pa.Table:
    return rows.sort_by("click")


def a_row_in_place_of_another(rows: pa.Table) -> pa.Table:
    return rows.take([*range(rows.num_rows - 1), 0])


def numbers_rounded(rows: pa.Table) -> pa.Table:
    return with_column(rows, "price", [[round(price, 2) for price in rows["price"].to_pylist()]])


def an_hour_later(rows: pa.Table) -> pa.Table:
    """All rows one place on, as after a row that came late."""
    return pa.concat_tables([rows.slice(1), rows.slice(0, 1)])


ROWS = [
    *(one_label_turned, missing_values_filled, a_column_that_nobody_reads_dropped),
    *(a_column_that_nobody_reads_renamed, columns_in_another_order, text_in_place_of_numbers),
    *(sorted_by_the_label, a_row_in_place_of_another, numbers_rounded, an_hour_later),
]


@pytest.mark.parametrize("change", ROWS, ids=lambda change: change.__name__)
@pytest.mark.parametrize("number", [0, 1])
def test_a_file_that_was_read_and_is_written_anew_is_an_error(
    folder, number, change: Callable[[pa.Table], pa.Table]
) -> None:
    """Whether all of its rows were read, or some."""
    changed = file(folder, number)
    rewrite(changed, change)
    with pytest.raises(ChangedError) as raised:
        pipeline(folder).check(continue_train=True)
    says(raised.value, f"{changed}: ", f"and is {changed.stat().st_size:,} bytes")


ERRORS = [
    *(first_rows_removed, last_row_removed, cut_below_the_position, cut_above_the_position),
    *(other_rows, another_order_of_rows, two_files_swapped, a_value_of_the_same_length),
    *(a_read_file_grown_in_front, emptied),
]


@pytest.mark.parametrize("change", ERRORS, ids=lambda change: change.__name__)
def test_a_file_that_was_read_and_is_another_is_an_error_with_both_facts(
    folder, caplog, change: Callable[[Path], Path]
) -> None:
    before = {number: file(folder, number).stat().st_size for number in (0, 1)}
    changed = change(folder)
    with pytest.raises(ChangedError) as raised:
        pipeline(folder).check(continue_train=True)
    size = before[int(changed.name[0])]
    assert f"{changed}: " in str(raised.value)
    assert f"it was {size:,} bytes" in str(raised.value)
    assert f"and is {changed.stat().st_size:,} bytes" in str(raised.value)
    assert "accept_changes=True" in str(raised.value)
    with caplog.at_level(logging.WARNING, "tzmmoe"):
        pipeline(folder).check(continue_train=True, accept_changes=True)
    assert any(str(changed) in record.message for record in caplog.records)


def touched(folder: Path) -> None:
    for path in (folder / "data" / "train").iterdir():
        os.utime(path, (10**9, 10**9))


def copied(folder: Path) -> None:
    """As a tool that keeps no times does."""
    for path in list((folder / "data" / "train").iterdir()):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)


def one_that_was_read_is_gone(folder: Path) -> None:
    file(folder, 0).unlink()


def nothing(folder: Path) -> None: ...


@pytest.mark.parametrize(
    "change",
    [nothing, touched, copied, one_that_was_read_is_gone],
    ids=lambda change: change.__name__,
)
def test_what_changes_no_row_is_silent(folder, caplog, change) -> None:
    change(folder)
    with caplog.at_level(logging.INFO, "tzmmoe"):
        pipeline(folder, steps=STEPS).check(continue_train=True)
    train = str(folder / "data" / "train")
    said = [r.message for r in caplog.records if train in r.message]
    assert not [line for line in said if "with_header" not in line]  # which Parquet has no use for


def noted(folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    """What is noted on files."""
    with caplog.at_level(logging.INFO, "tzmmoe"):
        pipeline(folder, steps=STEPS).check(continue_train=True)
    return "\n".join(r.message for r in caplog.records if "files that differ" in r.message)


def test_a_new_file_is_noted(folder, caplog) -> None:
    new = file(folder, 0).with_stem("new")
    tiny.write(tiny.rows(7000, 30), new)
    assert f"new: {new}" in noted(folder, caplog)


def test_a_file_that_changed_before_it_was_read_is_noted(folder, caplog) -> None:
    rewrite(file(folder, 2), lambda rows: tiny.rows(5000, rows.num_rows))
    assert f"{file(folder, 2)}: has changed since the epoch began" in noted(folder, caplog)


@pytest.mark.parametrize("number", [0, 1])
def test_a_csv_file_that_has_grown_is_noted_and_a_parquet_file_is_another(
    folder, caplog, number
) -> None:
    """That has its metadata at its end, and so is written anew."""
    path = file(folder, number)
    size = path.stat().st_size
    if path.suffix != ".csv":
        rewrite(path, lambda rows: pa.concat_tables([rows, tiny_rows(rows, 9)]))
        with pytest.raises(ChangedError, match=f"{path}: has different content"):
            pipeline(folder).check(continue_train=True)
        return
    line = path.read_bytes().splitlines(keepends=True)[-1]
    with path.open("ab") as content:
        content.write(line)
    assert f"{path}: has grown from {size:,} bytes" in noted(folder, caplog)


def test_a_last_line_that_goes_on_is_another_row(tmp_path) -> None:
    """The file had no line break at its end."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,2")
    before = FileRecord.stat(str(path)).digested(str(path))
    for more, expected in ((b"3\n", Fate.OTHER), (b"\n5,6\n", Fate.GROWN), (b"", Fate.SAME)):
        path.write_bytes(b"a,b\n1,2" + more)
        os.utime(path, (10**9, 10**9))
        assert fate(str(path), before)[0] is expected


def moved(folder: Path) -> Path:
    """All data, to another folder."""
    (folder / "data").rename(folder / "elsewhere")
    return folder / "elsewhere"


def test_data_that_moved_is_found_by_map_path_and_the_run_ends_the_same(folder, tmp_path) -> None:
    shutil.copytree(folder / "run", folder / "undisturbed")
    model_dir = {"model_dir": folder / "undisturbed"}
    pipeline(folder, steps=STEPS + 2, **model_dir).fit(continue_train=True)
    expected = tiny.tensors(checkpoint.newest(folder / "undisturbed"))
    resumed = pipeline(folder, steps=STEPS + 2, train_input_path=folder / "elsewhere" / "train")
    new = moved(folder)
    with pytest.raises(DataError, match=r'does not include it.*pass map_path="OLD=NEW"'):
        resumed.fit(continue_train=True)
    resumed.fit(continue_train=True, map_path=f"{folder / 'data'}={new}")
    assert tiny.tensors(checkpoint.newest(folder / "run")) == expected
    state = json.loads((checkpoint.newest(folder / "run") / "state.json").read_text())
    assert all(path.startswith(str(new)) for path in state["files"])
    resumed.fit(continue_train=True)  # the paths of today are those of the checkpoint now


@pytest.mark.parametrize("act", ["fit", "check"])
@pytest.mark.parametrize("path", ["data/train", "data/train/*", "data/train/1{suffix}"])
def test_a_resumed_run_whose_files_are_gone_hears_of_map_path(folder, act, path) -> None:
    path = folder / path.format(suffix=file(folder, 1).suffix)
    resumed = pipeline(folder, train_input_path=path)
    alone = pipeline(folder, train_input_path=path, model_dir=folder / "new")
    moved(folder)
    with fails(DataError, f"{path}: ", "train_input_path", "moved", 'map_path="OLD=NEW"'):
        getattr(resumed, act)(continue_train=True)
    with pytest.raises(DataError) as error:  # a run that starts anew has nothing to map
        alone.fit(continue_train=True)
    assert "map_path" not in str(error.value)


def test_a_moved_file_that_differs_is_an_error_too(folder) -> None:
    changed = other_rows(folder)
    resumed = pipeline(folder, train_input_path=folder / "elsewhere" / "train")
    new = moved(folder)
    words = f"{new}/train/{changed.name}: (has different content|is shorter)"
    with pytest.raises(ChangedError, match=words):
        resumed.check(continue_train=True, map_path=[f"{folder / 'data'}={new}"])


@pytest.mark.parametrize("text", ["data", "=new", "data="])
def test_a_map_of_another_form_is_refused(folder, text) -> None:
    with pytest.raises(ConfigError, match=r"map_path: is '.*'; write OLD=NEW"):
        pipeline(folder).fit(continue_train=True, map_path=text)


def test_a_map_to_a_place_that_does_not_exist_is_refused(folder) -> None:
    with pytest.raises(UserError, match="map_path: /else does not exist; give the place") as raised:
        pipeline(folder).fit(continue_train=True, map_path=f"{folder / 'data'}=/else")
    assert str(folder / "data") in str(raised.value)


def test_a_map_of_a_folder_without_files_of_the_checkpoint_is_refused(folder) -> None:
    with pytest.raises(UserError, match="has read no file there") as raised:
        pipeline(folder).fit(continue_train=True, map_path="/nowhere=/else")
    assert str(folder / "data" / "train") in str(raised.value)


def test_a_renamed_file_that_was_read_is_doubted(folder, caplog) -> None:
    """Its rows would be read a second time."""
    old = file(folder, 0)
    old.rename(old.with_stem("renamed"))
    noted(folder, caplog)
    lines = [r.message for r in caplog.records if "looks like" in r.message]
    assert len(lines) == 1
    assert str(old.with_stem("renamed")) in lines[0]
    assert f"{old}, which was read and no longer exists" in lines[0]


def test_checkpoints_of_earlier_versions_have_no_records_and_resume(folder) -> None:
    (run,) = checkpoint.find(folder / "run")
    state = json.loads((run / "state.json").read_text())
    assert list(state.pop("files")) == [str(file(folder, number)) for number in (0, 1, 2)]
    (run / "state.json").write_text(json.dumps(state))
    sums = json.loads((run / "checksums.json").read_text())
    (run / "checksums.json").write_text(
        json.dumps({**sums, "state.json": sha256(run / "state.json")})
    )
    other_rows(folder)
    pipeline(folder, steps=STEPS + 1).fit(continue_train=True)
    newest = checkpoint.newest(folder / "run")
    assert "files" in json.loads((newest / "state.json").read_text())
