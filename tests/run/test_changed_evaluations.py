"""Files to evaluate on that are others than before are told by the run that resumes."""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from e2e import tiny
from messages import says

from tzmmoe.system import checkpoint

STEPS = 6


def told(folder: Path, caplog: pytest.LogCaptureFixture, **changes: object) -> list[str]:
    """What a resumed run says of evaluation files."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "tzmmoe"):
        train(folder, steps=STEPS + 1, **changes)
    lines = "\n".join(record.getMessage() for record in caplog.records).splitlines()
    return [line.strip() for line in lines if "comparable" in line]


def train(folder: Path, *, steps: int = STEPS, **changes: object) -> Mapping[str, float]:
    run = tiny.pipeline(folder, folder / "run", train_config__num_steps=steps, **changes)
    return run.fit(continue_train=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that has stopped, evaluated on two files and tested on one."""
    tiny.write_all(tmp_path)
    (tmp_path / "held").mkdir()
    (tmp_path / "eval.parquet").rename(tmp_path / "held" / "0.parquet")
    tiny.write(tiny.rows(200_000, 30), tmp_path / "held" / "1.parquet")
    tiny.write(tiny.rows(300_000, 30), tmp_path / "test.parquet")
    config = (tmp_path / "tiny.config").read_text().replace("eval.parquet", "held")
    config += f'\ntest_input_path: "{tmp_path / "test.parquet"}"\n'
    (tmp_path / "tiny.config").write_text(config)
    train(tmp_path)
    return tmp_path


def same_again(folder: Path) -> None:
    """Only the time of modification differs."""
    os.utime(folder / "held" / "0.parquet")


def nothing(folder: Path) -> None:
    pass


def other_rows(folder: Path) -> None:
    tiny.write(tiny.rows(400_000, 61), folder / "held" / "0.parquet")


def other_test_rows(folder: Path) -> None:
    tiny.write(tiny.rows(400_000, 31), folder / "test.parquet")


def added(folder: Path) -> None:
    tiny.write(tiny.rows(400_000, 20), folder / "held" / "2.parquet")


def removed(folder: Path) -> None:
    (folder / "held" / "1.parquet").unlink()


def renamed(folder: Path) -> None:
    (folder / "held" / "1.parquet").rename(folder / "held" / "9.parquet")


@pytest.mark.parametrize("edit", [nothing, same_again, renamed])
def test_the_same_files_are_no_news(folder, caplog, edit) -> None:
    edit(folder)
    assert told(folder, caplog) == []


@pytest.mark.parametrize(
    ("edit", "file", "words"),
    [
        (other_rows, "held/0.parquet", ("it was", "and is")),
        (other_test_rows, "test.parquet", ("it was", "and is")),
        (added, "held/2.parquet", ("new",)),
        (removed, "held/1.parquet", ("no longer",)),
    ],
)
def test_another_file_is_told_once_with_its_path_and_the_run_goes_on(
    folder, caplog, edit: Callable[[Path], None], file: str, words: tuple[str, ...]
) -> None:
    edit(folder)
    (line,) = told(folder, caplog)
    says(line, str(folder / file), *words, "not comparable")
    assert checkpoint.newest(folder / "run").name == f"model.ckpt-{STEPS}"
    assert told(folder, caplog) == [], "the new checkpoint has the file as it is now"


def test_files_in_another_folder_are_the_same(folder, caplog) -> None:
    shutil.copytree(folder / "held", folder / "elsewhere")
    shutil.rmtree(folder / "held")
    assert told(folder, caplog, eval_input_path=folder / "elsewhere") == []


def test_a_run_that_no_longer_evaluates_has_nothing_to_compare(folder, caplog) -> None:
    assert told(folder, caplog, eval_input_path="", test_input_path="") == []


def test_rows_held_out_of_the_training_files_are_told_with_those(tmp_path, caplog) -> None:
    tiny.write_all(tmp_path)
    split = {"eval_input_path": "", "data_config__eval_split__fraction": 0.25}
    train(tmp_path, **split)
    with caplog.at_level(logging.INFO, "tzmmoe"):
        tiny.write(tiny.rows(500, 40), tmp_path / "train" / "3.parquet")
        assert told(tmp_path, caplog, **split) == []
    assert any("new: " in record.getMessage() for record in caplog.records)
