"""train.log beside the checkpoints."""

import logging
import signal
from pathlib import Path

import pytest
from full_disk import files_up_to

from tzmmoe.errors import DataError, Interrupted
from tzmmoe.run.folder import RunLog

log = logging.getLogger("tzmmoe.some.module")


def lines(folder: Path) -> list[str]:
    """Level and message of each line."""
    return [line.split(" ", 2)[2] for line in (folder / "train.log").read_text().splitlines()]


def failing_run(folder: Path, error: BaseException) -> None:
    with RunLog() as record:
        record.open(folder)
        raise error


def test_lines_from_before_the_folder_was_known_are_there_too(tmp_path: Path) -> None:
    with RunLog() as record:
        log.warning("early")
        record.open(tmp_path)
        assert lines(tmp_path) == ["WARNING early"]
        log.warning("late")
        assert lines(tmp_path) == ["WARNING early", "WARNING late"], "a killed run keeps it"
    log.warning("after")
    assert lines(tmp_path) == ["WARNING early", "WARNING late"]


def test_a_run_that_goes_on_adds_to_the_file(tmp_path: Path) -> None:
    for word in ("one", "two"):
        with RunLog() as record:
            record.open(tmp_path)
            log.error("%s", word)
    assert lines(tmp_path) == ["ERROR one", "ERROR two"]


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RunLog():
        log.error("lost")
    assert not list(tmp_path.iterdir())


def test_the_error_that_ended_a_run_is_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        failing_run(tmp_path, DataError("rows.csv, row 5: no number"))
    assert lines(tmp_path) == ["ERROR rows.csv, row 5: no number"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Interrupted(signal.SIGTERM), "ERROR stopped by signal 15"),
        (KeyboardInterrupt(), "ERROR KeyboardInterrupt"),
    ],
)
def test_a_run_that_was_stopped_says_so_in_one_line(tmp_path: Path, error, line) -> None:
    with pytest.raises(type(error)):
        failing_run(tmp_path, error)
    assert lines(tmp_path) == [line]


def test_of_a_fault_of_ours_the_traceback_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        failing_run(tmp_path, ZeroDivisionError("division by zero"))
    text = (tmp_path / "train.log").read_text()
    assert "ERROR division by zero" in text
    assert "ZeroDivisionError: division by zero" in text.splitlines()[-1]


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, capsys) -> None:
    with files_up_to(0), RunLog() as record:
        record.open(tmp_path)
        log.error("word")
    assert "too large" not in capsys.readouterr().err
    assert not (tmp_path / "train.log").read_text()
