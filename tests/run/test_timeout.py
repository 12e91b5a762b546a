"""The wall-clock limit of a run. Shows S0.8 of the checklist."""

import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cases import some
from e2e import tiny

from tzmmoe import pipeline, train
from tzmmoe.run import ends as timeout
from tzmmoe.run.ends import Timeout
from tzmmoe.run.evaluate import Evaluations
from tzmmoe.run.fit import TrainRun
from tzmmoe.run.results import TRAINING_RESULTS, append_results, read_results
from tzmmoe.system import checkpoint, cli

LIMIT = {"runtime_config__timeout": "3h"}


class Hand:
    """The true time, and what a hand adds to it."""

    def __init__(self) -> None:
        self.added_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.added_s

    def turn(self) -> None:
        self.added_s += 3 * 3600


@pytest.fixture
def hand(monkeypatch) -> Hand:
    made = Hand()
    for module in (pipeline, timeout):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def over_at(monkeypatch, hand) -> Callable[[int], None]:
    """Lets three hours go by within the step of this number, counted from 0, of the next run."""
    due = []

    def turn(number: int) -> None:
        if due == [number]:
            due.clear()
            hand.turn()

    tiny.after_each_step(monkeypatch, turn)
    return due.append


def saved_steps(model_dir: Path) -> list[int]:
    return [checkpoint.open_checkpoint(path).step for path in checkpoint.find(model_dir)]


def results(model_dir: Path) -> dict[int, dict[str, float]]:
    return {line["global_step"]: line for line in read_results(model_dir / TRAINING_RESULTS)}


def test_time_is_over_when_the_limit_is_reached(monkeypatch) -> None:
    class Fixed:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Fixed()
    monkeypatch.setattr(timeout, "time", clock)
    made, unlimited = Timeout.of("2m", began=50.0), Timeout.of("", began=50.0)
    for now, over in ((50.0, False), (169.9, False), (170.0, True), (1e9, True)):
        clock.now = now
        assert made.is_over() == over
        assert not unlimited.is_over()


BY_STEPS = {"train_config__num_epochs": 2}  # checkpoints 5, 10, 15, 20 and 25
BY_EPOCHS = BY_STEPS | {"train_config__save_checkpoints_epochs": 1}  # 12 and 25


@pytest.fixture(scope="module")
def whole(tiny_folder, tmp_path_factory) -> dict[int, Path]:
    """The model_dirs of undisturbed runs, by the number of their changes."""
    found = {}
    for changes in (BY_STEPS, BY_EPOCHS):
        found[len(changes)] = tmp_path_factory.mktemp("whole")
        tiny.pipeline(tiny_folder, found[len(changes)], **changes).fit()
    return found


def ends(model_dir: Path) -> dict[str, bytes]:
    """As tiny.end, without the results and whether one is due."""
    found = tiny.end(model_dir)
    del found[f"../{TRAINING_RESULTS}"]
    found["state.json"] = found["state.json"].replace(b'"evaluates": false', b'"evaluates": true')
    return found


@pytest.mark.parametrize(
    ("changes", "step"),
    some(
        [(BY_STEPS, step) for step in (0, 3, 5, 12, 17, 25)]
        + [(BY_EPOCHS, step) for step in (3, 12, 25)],
        *((BY_STEPS, step) for step in (0, 5, 12, 25)),
        (BY_EPOCHS, 12),
    ),
    ids=lambda value: (
        str(value) if isinstance(value, int) else "epochs" if len(value) > 1 else "steps"
    ),
)
def test_a_run_whose_time_is_over_saves_evaluates_and_goes_on_to_the_same_end(
    tiny_folder, tmp_path, whole, over_at, caplog, changes, step
) -> None:
    """Also at the first step, where a checkpoint is due, and at the end of an epoch or the run."""
    over_at(step)
    with caplog.at_level(logging.INFO):
        returned = tiny.pipeline(tiny_folder, tmp_path, **changes, **LIMIT).fit()
    [line] = [line for line in caplog.messages if "timeout" in line]
    for words in ("runtime_config.timeout", "3h", f"after step {step + 1};", "--continue_train"):
        assert words in line
    assert saved_steps(tmp_path)[-1] == list(results(tmp_path))[-1] == step
    assert {"global_step": step} | returned == results(tmp_path)[step]
    tiny.pipeline(tiny_folder, tmp_path, **changes, **LIMIT).fit(continue_train=True)
    undisturbed = whole[len(changes)]
    assert ends(tmp_path) == ends(undisturbed)
    found, expected = results(tmp_path), results(undisturbed)
    assert found == expected | {step: found[step]}
    assert found[step] == expected.get(step, found[step])


@pytest.mark.parametrize("found", [0.1, 0.9], ids=["worse", "better"])
def test_the_evaluation_that_a_timeout_brings_does_not_count_for_early_stopping(
    tiny_folder, tmp_path, over_at, monkeypatch, found
) -> None:
    """Undisturbed, 0.7 at step 10 is not surpassed twice, so that the run stops at step 20."""
    values = {5: 0.5, 10: 0.7, 15: 0.6, 20: 0.65, 25: 0.8}

    def after(self: Evaluations, step: int, *, is_last: bool) -> dict[str, float]:
        made = {"auc_ctr": values.get(step, found), "val_loss": 1.0}
        append_results(self.session.model_dir / TRAINING_RESULTS, step, made)
        return made

    monkeypatch.setattr(Evaluations, "after", after)
    changes = LIMIT | {
        "train_config__num_epochs": 50,
        "train_config__early_stopping": 'monitor: "auc_ctr" patience: 2',
    }
    over_at(12)
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert saved_steps(tmp_path) == [5, 10, 12]
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit(continue_train=True)
    assert saved_steps(tmp_path) == [5, 10, 12, 15, 20]
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-10"


def test_time_that_runs_out_in_an_evaluation_ends_the_run_without_a_further_step(
    tiny_folder, tmp_path, hand, monkeypatch
) -> None:
    original = Evaluations.after

    def after(self: Evaluations, step: int, *, is_last: bool) -> dict[str, float]:
        hand.turn()
        return original(self, step, is_last=is_last)

    monkeypatch.setattr(Evaluations, "after", after)
    tiny.pipeline(tiny_folder, tmp_path, **LIMIT).fit()
    assert saved_steps(tmp_path) == list(results(tmp_path)) == [5]


def test_a_run_makes_a_step_although_its_time_was_over_before(tiny_folder, tmp_path) -> None:
    """Or a limit that is too short for its preparations would keep it from ever getting on."""
    for run in range(2):
        session = tiny.session(tiny_folder, tmp_path, runtime_config__timeout="1s")
        TrainRun(session, continue_train=run > 0, began=time.monotonic() - 5).run()
        assert saved_steps(tmp_path) == list(range(run + 1))


def test_a_run_that_ends_anyway_says_nothing_of_its_time(
    tiny_folder, tmp_path, over_at, caplog
) -> None:
    over_at(6)
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path, **LIMIT, train_config__num_steps=7).fit()
    assert not [line for line in caplog.messages if "timeout" in line]
    assert saved_steps(tmp_path) == [5, 6]


def test_a_command_with_a_short_limit_ends_by_the_true_clock_with_exit_code_0(
    tiny_folder, tmp_path, monkeypatch, caplog
) -> None:
    """And its end is that of a run of as many steps."""
    changes = {
        "train_config.num_steps": 1_000_000,
        "train_config.save_checkpoints_steps": 1_000_000,
        "model_dir": tmp_path / "short",
        "runtime_config.timeout": "0.5s",
    }
    settings = [part for path, value in changes.items() for part in ("--set", f"{path}={value}")]
    config = ["--pipeline_config", str(tiny_folder / "tiny.config")]
    monkeypatch.setattr(sys, "argv", ["train", *config, *settings])
    began = time.monotonic()
    with caplog.at_level(logging.INFO):
        cli.run(train.main)  # leaves by sys.exit where the code is not 0
    assert 0.5 < time.monotonic() - began < 60
    [line] = [line for line in caplog.messages if "timeout" in line]
    steps = int(re.search(r"after step ([\d,]+);", line)[1].replace(",", ""))
    assert saved_steps(tmp_path / "short") == [steps - 1]
    same = {"train_config__num_steps": steps, "train_config__save_checkpoints_steps": 1_000_000}
    tiny.pipeline(tiny_folder, tmp_path / "same", **same).fit()
    one, other = (tiny.tensors(checkpoint.newest(tmp_path / run)) for run in ("short", "same"))
    assert one == other
