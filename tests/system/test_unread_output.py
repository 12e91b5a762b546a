"""Commands whose output nobody reads, as after ``| head``, or that cannot write it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from drafting.easyrec.pipelines import BUILT_IN
from e2e import tiny

from tzmmoe.system import cli

CONVERT = "tzmmoe.convert easyrec --config theirs.config --out c.config"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny.write_all(tmp_path_factory.mktemp("unread"))
    (made / "theirs.config").write_text(BUILT_IN)
    return made


def unread(folder: Path, *words: str, with_stderr: bool = False) -> tuple[int, str]:
    """The exit code and stderr of a command that prints into a pipe without a reader."""
    reading, writing = os.pipe()
    os.close(reading)
    errors = subprocess.STDOUT if with_stderr else subprocess.PIPE
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, stdout=writing, stderr=errors, cwd=folder, check=False)
    os.close(writing)
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (CONVERT, "c.config"),
        ("tzmmoe init --data train --labels click --out i.config", "i.config"),
        ("tzmmoe.synthetic --out made --rows 50 --eval_rows 50", "made"),
    ],
)
def test_a_command_without_a_reader_writes_its_files_and_says_nothing(
    folder: Path, words: str, written: str
) -> None:
    code, errors = unread(folder, *words.split())
    assert code == cli.READER_LOST
    assert "Traceback" not in errors
    assert "roken pipe" not in errors
    assert (folder / written).exists()


def test_help_that_is_not_read_says_nothing(folder: Path) -> None:
    _, errors = unread(folder, "tzmmoe.train", "--help")
    assert errors == ""


def test_a_run_whose_lines_nobody_reads_goes_on_to_its_end(folder: Path) -> None:
    flags = ["--pipeline_config", "tiny.config", "--model_dir", "run", "--device", "cpu"]
    steps = ["--set", "train_config.num_steps=2"]
    code, _ = unread(folder, "tzmmoe.train", *flags, *steps, with_stderr=True)
    assert code == 0
    assert (folder / "run" / "model.ckpt-1").is_dir()


@pytest.mark.parametrize("words", ["tzmmoe.train --help", f"{CONVERT} --force"])
def test_a_full_disk_behind_stdout_is_one_line(folder: Path, words: str) -> None:
    command = [sys.executable, "-m", *words.split()]
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder, env=buffered
        )
    assert done.returncode == cli.USER_ERROR
    assert "No space left" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
