"""Paths of another kind than a command expects: what they are is said, and what to give."""

import importlib
import re

import pytest
from messages import fails, says

from tzmmoe.errors import CheckpointError, UserError
from tzmmoe.pipeline import Pipeline
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import cli

KINDS = {
    "run": "a model_dir",
    "run/model.ckpt-1": "a checkpoint",
    "export": "an export",
    "tiny.config": "a config",
    "eval.parquet": "a data file",
    "export/model.pt2": "a file",
    "train": "a folder",
    "nowhere": "does not exist",
}
CONFIG = ["--pipeline_config=tiny.config"]
FILES = ["--predict_input_path=eval.parquet", "--predict_output_path=out.parquet"]
# What each flag takes, and what its command needs besides.
TAKEN = {
    "export --checkpoint_path": (["run", "run/model.ckpt-1"], [*CONFIG, "--export_dir=out"]),
    "eval --checkpoint_path": (["run", "run/model.ckpt-1"], CONFIG),
    "eval --model_dir": (["run", "run/model.ckpt-1"], CONFIG),
    "train --fine_tune_checkpoint": (["run", "run/model.ckpt-1"], [*CONFIG, "--model_dir=new"]),
    "predict --saved_model_dir": (["export"], FILES),
    "predict --pipeline_config": (["tiny.config"], FILES),
}
# A remedy that depends on what was given.
REMEDIES = {
    ("predict --saved_model_dir", "run"): "--checkpoint_path run",
    ("predict --saved_model_dir", "run/model.ckpt-1"): "--checkpoint_path run/model.ckpt-1",
    ("predict --saved_model_dir", "tiny.config"): "--pipeline_config tiny.config",
    ("predict --pipeline_config", "run"): "run/pipeline.config",
    ("predict --pipeline_config", "export"): "--saved_model_dir export",
}
# What is a file is read as a config, and what is missing has a test of its own.
UNTOLD = [("predict --pipeline_config", path) for path in ("export/model.pt2", "nowhere")]
CASES = [
    (output, path)
    for output, (taken, _) in TAKEN.items()
    for path in KINDS
    if path not in taken and (output, path) not in UNTOLD
]


@pytest.mark.parametrize(("output", "path"), CASES)
def test_a_path_of_another_kind_is_told_with_what_it_is_and_what_to_give(
    folder, monkeypatch, output, path
) -> None:
    command, flag = output.split()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cli.sys, "argv", [command])
    main = importlib.import_module(f"tzmmoe.{command}").main
    remedy = REMEDIES.get((output, path), "choose")
    with fails(UserError, path, KINDS[path], remedy):
        main([*TAKEN[output][1], f"{flag}={path}"])


@pytest.mark.parametrize("path", [path for path in KINDS if path != "export"])
def test_in_python_a_path_that_is_no_export_is_told_with_calls_that_make_one(
    folder, monkeypatch, tmp_path, path
) -> None:
    """And no flags. The call makes an export that loads."""
    monkeypatch.chdir(folder)
    with pytest.raises(CheckpointError) as error:
        Scorer.load(path)
    says(error.value, path, KINDS[path], "not an export")
    assert "--" not in str(error.value)
    if path not in ("run", "run/model.ckpt-1", "tiny.config"):
        says(error.value, "choose a folder that Pipeline.export wrote")
        return
    called = re.search(
        r"Pipeline.load\('(.*?)'\).export\(FOLDER(?:, checkpoint_path='(.*)')?\)", str(error.value)
    )
    config, checkpoint = called.groups()
    assert checkpoint == (None if path == "tiny.config" else path)
    run = Pipeline.load(config, settings={} if checkpoint else {"model_dir": "run"})
    Scorer.load(run.export(str(tmp_path / "new"), checkpoint_path=checkpoint))


@pytest.mark.parametrize("path", ["export", "run/model.ckpt-1"])
def test_a_run_does_not_write_into_an_export_or_a_checkpoint(folder, monkeypatch, path) -> None:
    monkeypatch.chdir(folder)
    with fails(UserError, "model_dir", path, KINDS[path], "another"):
        Pipeline.load("tiny.config", settings={"model_dir": path}).check()


def test_without_a_checkpoint_both_flags_that_can_name_one_are_told(folder, tmp_path) -> None:
    run = Pipeline.of_command(folder / "tiny.config", settings=[f"model_dir={tmp_path}"])
    words = "model_dir in --set or --checkpoint_path"
    with fails(UserError, "no checkpoint found", "empty", words):
        run.export(str(tmp_path / "out"))
