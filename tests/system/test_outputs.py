"""Outputs that cannot be written: commands say so alike, before they work, and leave nothing."""

import importlib
import os
from pathlib import Path

import pyarrow as pa
import pytest
from messages import fails
from written import ROOT

from tzmmoe.errors import UserError
from tzmmoe.pipeline import Pipeline
from tzmmoe.serving.predictions import PredictionWriter
from tzmmoe.system import cli, durable

CONFIG = "--pipeline_config=tiny.config"
MODEL = [CONFIG, "--model_dir=run"]
JOB = ROOT / "tests/drafting/tencent/fixtures/job.json"
INPUTS = JOB.with_name("model_input_config.json")
PREDICT = ["--predict_input_path=eval.parquet"]
# Each flag or field that names an output, with what else its command needs.
OUTPUTS = {
    "train --model_dir": [CONFIG],
    "train --predictions_path": [CONFIG, "--model_dir=new"],
    "train --set=eval_config.output_file": [CONFIG, "--model_dir=new"],
    "eval --predictions_path": MODEL,
    "eval --set=eval_config.output_file": MODEL,
    "export --export_dir": MODEL,
    "predict --predict_output_path": [*MODEL, *PREDICT],
    "predict --predict_output_path ": ["--saved_model_dir=export", *PREDICT],
    "init --out": ["--data=train", "--labels=click"],
    "convert --out": ["tencent", f"--job={JOB}", f"--inputs={INPUTS}"],
    "synthetic.__main__ --out": ["--rows=9"],
}


@pytest.fixture(scope="module")
def folder(folder: Path) -> Path:
    """With a place where nothing may be written."""
    (folder / "locked").mkdir()
    return folder


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.name != ".lock"}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("obstacle", ["file", "read-only"])
def test_every_command_says_alike_that_an_output_cannot_be_written(
    folder, monkeypatch, output, obstacle
) -> None:
    command, flag = output.strip().split(" ")
    monkeypatch.chdir(folder)
    path, reason = "tiny.config/x", "tiny.config is a file, not a folder"
    if obstacle == "read-only":
        path, reason = "locked/x", "the folder locked is read-only"
        monkeypatch.setattr(durable.os, "access", lambda path, mode: str(path) != "locked")
    before = files(folder)
    monkeypatch.setattr(cli.sys, "argv", [command])
    main = importlib.import_module(f"tzmmoe.{command}").main
    words = f"{path} cannot be written: {reason}; choose another path"
    with fails(UserError, flag.removeprefix("--set=").lstrip("-"), words):
        main([*OUTPUTS[output], f"{flag}={path}"])
    assert files(folder) == before


@pytest.mark.parametrize("target", ["a/b/p.parquet", "a/b", "a.csv"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output_columns": "probs_ctx"}, "'probs_ctr'"),
        ({"reserved_columns": "usr"}, "'usr'"),
        ({"output_columns": ""}, "output_columns"),
        ({"reserved_columns": "user", "batch_size": 16, "input": "bad"}, "bad.parquet"),
    ],
)
def test_a_prediction_that_fails_leaves_no_folder(
    folder, tmp_path, monkeypatch, target, changes, said
) -> None:
    """Whether it fails before the first row, or after many."""
    changes = dict(changes)
    path = tmp_path / "bad.parquet"
    if changes.pop("input", None):
        path.write_bytes((folder / "eval.parquet").read_bytes()[:-9])
    else:
        path = folder / "eval.parquet"
    run = Pipeline.load(folder / "tiny.config", settings={"model_dir": str(folder / "run")})
    made = tmp_path / "made"
    made.mkdir()
    with fails(UserError, said):
        run.predict(str(path), str(made / target), **changes)
    assert os.listdir(made) == []


def test_folders_that_were_made_for_an_output_go_with_it_and_others_stay(tmp_path) -> None:
    (tmp_path / "old").mkdir()

    def fail() -> None:
        with durable.written_aside(tmp_path / "old/new/deep"):
            assert (tmp_path / "old/new").is_dir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.listdir(tmp_path / "old") == []
    with durable.written_aside(tmp_path / "old/new/deep") as folder:
        (folder / "file").touch()
    assert (tmp_path / "old/new/deep/file").exists()


def test_a_writer_that_fails_after_rows_removes_its_folders_and_no_others_files(tmp_path) -> None:

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()

    def fail(target: Path) -> None:
        with PredictionWriter(target) as writer:
            writer.write({"x": pa.array([1.0])}, 1)
            assert target.parent.is_dir()
            raise ZeroDivisionError

    for target in (tmp_path / "mine/p.parquet", tmp_path / "a/b/p.parquet"):
        with pytest.raises(ZeroDivisionError):
            fail(target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "notes.txt"]
