"""history.jsonl: a line for each epoch and checkpoint, whose steps only increase; and where a run
says that its results are."""

import json
import logging
import math
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import some
from e2e import tiny
from run.runs import EARLY, ONE_EPOCH, go_on, scripted
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tzmmoe import Pipeline
from tzmmoe.errors import Interrupted
from tzmmoe.run.ends import Interruption, Timeout
from tzmmoe.run.history import History
from tzmmoe.run.results import TRAINING_RESULTS, read_results
from tzmmoe.run.trainer import Trainer
from tzmmoe.system.world import World

EPOCHS = {"train_config__num_epochs": 2}  # 26 steps; checkpoints at 5, 10, 15, 20 and 25


def lines(model_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (model_dir / "history.jsonl").read_text().splitlines()]


def steps(model_dir: Path) -> list[int]:
    return [line["global_step"] for line in lines(model_dir)]


def without_times(model_dir: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in line.items() if k not in ("time", "seconds")} for line in lines(model_dir)
    ]


def losses_by_step(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Filled with the losses of each step that is taken from now on."""
    taken: list[dict[str, float]] = []
    note = History.note

    def noted(self: History, losses: dict[str, torch.Tensor]) -> None:
        taken.append({key: value.item() for key, value in losses.items()})
        note(self, losses)

    monkeypatch.setattr(History, "note", noted)
    return taken


def test_a_line_has_the_mean_losses_of_its_steps_and_the_evaluation(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    taken = losses_by_step(monkeypatch)
    tiny.pipeline(tiny_folder, tmp_path, **EPOCHS).fit()
    found = lines(tmp_path)
    assert steps(tmp_path) == [5, 10, 12, 15, 20, 25]
    assert [line["epoch"] for line in found] == [1, 1, 1, 2, 2, 2]
    assert [line["steps"] for line in found] == [6, 5, 2, 3, 5, 5]
    assert all(line["seconds"] > 0 for line in found)
    for line in found:
        last = line["global_step"] + 1
        own = taken[last - line["steps"] : last]
        for key, value in line["losses"].items():
            assert value == pytest.approx(math.fsum(step[key] for step in own) / len(own))
        assert line["train_loss"] == pytest.approx(sum(line["losses"].values()))
    results = {line["global_step"]: line for line in read_results(tmp_path / TRAINING_RESULTS)}
    for line in found:
        if line["global_step"] == 12:  # the end of an epoch, without a checkpoint
            assert "evaluation" not in line
        else:
            assert line["evaluation"].items() < results[line["global_step"]].items()


def test_without_evaluation_files_the_losses_are_written_too(tiny_folder, tmp_path) -> None:
    tiny.pipeline(tiny_folder, tmp_path, **EPOCHS, eval_input_path="").fit()
    assert steps(tmp_path) == [5, 10, 12, 15, 20, 25]
    assert not any("evaluation" in line for line in lines(tmp_path))


class KilledError(Exception):
    """Ends a run as a kill does: without a checkpoint."""


@pytest.fixture(scope="module")
def whole(tiny_folder, tmp_path_factory) -> Path:
    """The model_dir of an undisturbed run."""
    model_dir = tmp_path_factory.mktemp("whole")
    tiny.pipeline(tiny_folder, model_dir, **EPOCHS).fit()
    return model_dir


@pytest.mark.parametrize("last_step", some([4, 8, 12, 13, 17, 24], 4, 12, 13, 24))
def test_a_run_that_was_killed_continues_as_if_it_had_not_been(
    tiny_folder, tmp_path, whole, monkeypatch, last_step
) -> None:
    with monkeypatch.context() as patch:

        def kill(step: int) -> None:
            if step == last_step:
                raise KilledError

        tiny.after_each_step(patch, kill)
        with pytest.raises(KilledError):
            tiny.pipeline(tiny_folder, tmp_path / "killed", **EPOCHS).fit()
    with (tmp_path / "killed" / "history.jsonl").open("a") as file:
        file.write('{"global_step": 90')  # a line that a crash cut off
    tiny.pipeline(tiny_folder, tmp_path / "killed", **EPOCHS).fit(continue_train=last_step > 5)
    assert without_times(tmp_path / "killed") == without_times(whole)


@pytest.mark.parametrize("when", ["before the results", "after the results"])
def test_a_kill_during_an_evaluation_neither_loses_nor_repeats_its_line(
    tiny_folder, tmp_path, monkeypatch, when
) -> None:
    evaluated = History.evaluated

    def kill(self: History, step: int, *others: object) -> None:
        if step == 10 and when == "before the results":
            raise KilledError
        evaluated(self, step, *others)
        if step == 10:
            raise KilledError

    tiny.pipeline(tiny_folder, tmp_path / "whole", **ONE_EPOCH).fit()
    with monkeypatch.context() as patch:
        patch.setattr(History, "evaluated", kill)
        with pytest.raises(KilledError):
            tiny.pipeline(tiny_folder, tmp_path / "killed", **ONE_EPOCH).fit()
    go_on(tiny_folder, tmp_path / "killed")
    assert without_times(tmp_path / "killed") == without_times(tmp_path / "whole")


def test_a_run_that_a_signal_stopped_counts_all_steps(tiny_folder, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "signum", lambda self: 2 if steps_of[0].steps == 8 else 0)
        steps_of: list[Trainer] = []
        fit = Trainer.fit

        def watched(self: Trainer) -> None:
            steps_of.append(self)
            fit(self)

        patch.setattr(Trainer, "fit", watched)
        with pytest.raises(Interrupted):
            tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH).fit()
    go_on(tiny_folder, tmp_path)
    assert steps(tmp_path) == [5, 7, 10, 12]
    assert sum(line["steps"] for line in lines(tmp_path)) == 13


def test_a_finished_run_that_is_extended_appends(tiny_folder, tmp_path) -> None:
    tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH).fit()
    before = (tmp_path / "history.jsonl").read_text()
    go_on(tiny_folder, tmp_path, train_config__num_epochs=2)
    assert (tmp_path / "history.jsonl").read_text().startswith(before)
    assert steps(tmp_path) == [5, 10, 12, 15, 20, 25]


def test_losses_that_are_not_finite_are_null(tmp_path) -> None:
    made = History(tmp_path, World())
    made.note({"a": torch.tensor(math.inf), "b": torch.tensor(1.0)})
    made.close(0, 0, 1.0)
    made.evaluated(0, 0, {"auc_a": math.nan})
    [line] = lines(tmp_path)
    assert line["losses"] == {"a": None, "b": 1.0}
    assert line["train_loss"] is None
    assert line["evaluation"] == {"auc_a": None}


def ending(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """The lines of the last message of a run, by their first word."""
    [text] = [message for message in caplog.messages if message.startswith("trained ")]
    caplog.clear()
    return dict(line.strip().split(maxsplit=1) for line in text.splitlines())


def test_at_the_end_a_run_says_where_everything_is_and_what_to_do_next(
    tiny_folder, tmp_path, caplog
) -> None:
    """In a folder whose name a shell would split."""
    model_dir = tmp_path / "my run"
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, model_dir, **ONE_EPOCH).fit()
    said = ending(caplog)
    assert said["trained"] == "13 steps"
    assert said["results"] == f"{model_dir / TRAINING_RESULTS}, {model_dir / 'history.jsonl'}"
    results = read_results(model_dir / TRAINING_RESULTS)
    best = max(results, key=lambda line: line["auc_ctr"])
    assert said["checkpoint"].startswith(f"{model_dir / 'model.ckpt-'}{best['global_step']},")
    assert f"auc_ctr, {best['auc_ctr']:.5f}" in said["checkpoint"]
    assert said["log"] == str(model_dir / "train.log")
    *command, config, export_flag, export_dir = shlex.split(said["next"])
    assert command == ["python", "-m", "tzmmoe.export", "--pipeline_config"]
    assert export_flag == "--export_dir"
    Pipeline.load(config, device="cpu").export(export_dir)
    assert (model_dir / "export" / "model.pt2").exists()


def test_a_run_says_how_many_steps_it_took_and_how_many_there_are(
    tiny_folder, tmp_path, caplog
) -> None:
    """As it begins, resumes, and resumes with nothing left to do."""
    for epochs, said in (
        (1, "13 steps"),
        (2, "13 steps in this run, 26 in all"),
        (2, "0 steps in this run, 26 in all"),
    ):
        with caplog.at_level(logging.INFO):
            go_on(tiny_folder, tmp_path, train_config__num_epochs=epochs)
        assert ending(caplog)["trained"] == said


def test_a_run_that_stops_early_tells_its_steps_from_that_of_its_result(
    tiny_folder, tmp_path, caplog, monkeypatch
) -> None:
    """Of the checkpoints after 6, 11, 13 and 16 steps the second is the best."""
    scripted(monkeypatch, [0.5, 0.9, 0.8, 0.7])
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path, **EARLY).fit()
    (run,) = [int(line["global_step"]) for line in read_results(tmp_path / TRAINING_RESULTS)][-1:]
    said = ending(caplog)
    assert said["trained"] == f"{run + 1} steps; the result has the weights of step 11"
    assert "model.ckpt-10," in said["checkpoint"]


def test_without_evaluations_the_last_checkpoint_is_named(tiny_folder, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH, eval_input_path="").fit()
    said = ending(caplog)
    assert said["checkpoint"] == str(tmp_path / "model.ckpt-12")
    assert said["results"] == str(tmp_path / "history.jsonl")


def test_a_run_whose_time_is_over_says_how_to_continue(
    tiny_folder, tmp_path, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(Timeout, "is_over", lambda self: True)
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path, runtime_config__timeout="1s").fit()
    said = ending(caplog)
    assert "tzmmoe.train" in said["next"]
    assert "--continue_train" in said["next"]


def test_tensorboard_shows_each_step_once_after_a_killed_run_went_on(tiny_folder, tmp_path) -> None:
    """Step 12's checkpoint is deleted, as if the run had been killed before writing it."""
    shown = {"train_config__use_tensorboard": "true", "train_config__log_step_count_steps": 1}
    tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH | shown).fit()
    shutil.rmtree(tmp_path / "run/model.ckpt-12")
    go_on(tiny_folder, tmp_path / "run", **EPOCHS | shown)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("loss/total")] == list(range(26))
    assert [event.step for event in events.Scalars("eval/auc_ctr")] == [5, 10, 15, 20, 25]


def test_an_evaluation_of_a_read_only_model_dir_says_so_first_and_goes_on(
    tiny_folder, tmp_path, monkeypatch, caplog
) -> None:
    """The rights of the tests' user may not be limited, so the system's answer is played."""
    made = tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH)
    trained = made.fit()
    before = tiny.files_of(tmp_path / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "run")
    with caplog.at_level(logging.INFO):
        assert made.evaluate() == trained
    said = [line for line in caplog.messages if "read-only" in line or "evaluation of" in line]
    assert str(tmp_path / "run") in said[0]
    assert said[1].startswith("evaluation of")
    assert tiny.files_of(tmp_path / "run") == before
