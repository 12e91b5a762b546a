"""Epochs and evaluations of a given number of rows. Shows S0.60 and S0.61 of the checklist."""

import logging
from pathlib import Path

import pytest
from cases import some
from e2e import tiny

from tzmmoe.run.results import TRAINING_RESULTS, read_results
from tzmmoe.system import checkpoint

ROWS = {"train_config__num_samples": 40}  # 3 batches of 16, so that an epoch has 48 rows
EPOCHS, STEPS = "train_config__num_epochs", "train_config__num_steps"
EVALUATED = {STEPS: 3, "data_config__eval_batch_size": 16}


def last_tensors(model_dir: Path) -> dict[str, bytes]:
    return tiny.tensors(checkpoint.newest(model_dir))


def test_an_epoch_of_so_many_rows_is_one_of_a_file_that_ends_there(tiny_folder, tmp_path) -> None:
    """Bit for bit, over four epochs and the schedule's steps; the rows are in their order."""
    changes = {EPOCHS: 4, "data_config__shuffle": "false"}
    tiny.pipeline(tiny_folder, tmp_path / "part", **changes, **ROWS).fit()
    cut = tiny.write(tiny.rows(0, 48), tmp_path / "cut.parquet")
    tiny.pipeline(tiny_folder, tmp_path / "cut", **changes, train_input_path=cut).fit()
    assert checkpoint.newest(tmp_path / "part").name == "model.ckpt-11"
    assert last_tensors(tmp_path / "part") == last_tensors(tmp_path / "cut")


def test_checkpoints_by_epochs_come_at_the_end_of_such_an_epoch(tiny_folder, tmp_path) -> None:
    changes = {EPOCHS: 3, "train_config__save_checkpoints_epochs": 1}
    tiny.pipeline(tiny_folder, tmp_path, **changes, **ROWS).fit()
    found = [checkpoint.open_checkpoint(path) for path in checkpoint.find(tmp_path)]
    assert [each.step for each in found] == [2, 5, 8]
    assert [each.state["reading"][0]["position"]["epoch"] for each in found] == [0, 1, 2]
    assert [each.state["reading"][0]["position"]["row"] for each in found] == [48, 48, 48]


@pytest.fixture(scope="module")
def whole(tiny_folder, tmp_path_factory) -> Path:
    """The model_dir of an undisturbed run of 8 steps."""
    model_dir = tmp_path_factory.mktemp("whole")
    tiny.pipeline(tiny_folder, model_dir, **{STEPS: 8}, **ROWS).fit()
    return model_dir


@pytest.mark.parametrize("stop", some(range(1, 8), 1, 3, 5, 7))
def test_a_run_that_stops_within_or_at_the_end_of_such_an_epoch_goes_on(
    tiny_folder, tmp_path, whole, stop
) -> None:
    """8 steps are two epochs and two batches of the third, shuffled."""
    for part in (stop, 8):
        made = tiny.pipeline(tiny_folder, tmp_path / "parts", **{STEPS: part}, **ROWS)
        made.fit(continue_train=part == 8)
    assert last_tensors(tmp_path / "parts") == last_tensors(whole)


def test_epochs_that_are_added_later_begin_where_they_would_have(tiny_folder, tmp_path) -> None:
    for epochs in (1, 2, 4):
        made = tiny.pipeline(tiny_folder, tmp_path / "parts", **{EPOCHS: epochs}, **ROWS)
        made.fit(continue_train=epochs > 1)
    tiny.pipeline(tiny_folder, tmp_path / "whole", **{EPOCHS: 4}, **ROWS).fit()
    assert last_tensors(tmp_path / "parts") == last_tensors(tmp_path / "whole")


def test_more_rows_than_there_are_change_nothing_but_a_line(tiny_folder, tmp_path, caplog) -> None:
    for name, rows in (("all", "200"), ("more", "2938797")):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            made = tiny.pipeline(tiny_folder, tmp_path / name, train_config__num_samples=rows)
            made.fit()
        told = [line for line in caplog.messages if "num_samples" in line]
        assert len(told) == (name == "more"), "once, at the end of the first of two epochs"
    assert "2,938,797" in told[0]
    assert "200 rows" in told[0]
    tiny.pipeline(tiny_folder, tmp_path / "unset").fit()
    assert tiny.end(tmp_path / "unset") == tiny.end(tmp_path / "all") == tiny.end(tmp_path / "more")


def test_the_time_left_after_an_epoch_that_had_fewer_rows_is_right(
    tiny_folder, tmp_path, caplog
) -> None:
    """CSV files do not tell their rows before they are read; the last of 2 x 3 steps leaves
    none."""
    changes = {
        EPOCHS: 2,
        "train_config__num_samples": 10**9,
        "train_config__log_step_count_steps": 1,
        "train_input_path": tiny.write(tiny.rows(0, 40), tmp_path / "rows.csv"),
        "eval_input_path": tiny.write(tiny.rows(100, 9), tmp_path / "eval.csv"),
    }
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    lines = [line for line in caplog.messages if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == [str(step) for step in range(1, 7)]
    assert lines[-1].endswith("ETA 0:00")


def test_the_time_left_is_that_of_these_epochs(tiny_folder, tmp_path, caplog) -> None:
    """The last of 2 x 3 steps leaves none."""
    changes = {EPOCHS: 2, "train_config__log_step_count_steps": 3}
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path, **changes, **ROWS).fit()
    lines = [line for line in caplog.messages if line.startswith("step ")]
    assert [line.split(" |")[0] for line in lines] == ["step 3 of 6", "step 6 of 6"]
    assert lines[1].endswith("ETA 0:00")


@pytest.mark.parametrize(
    ("limits", "size", "rows"),
    [
        ({"train_config__num_val_samples": 20}, 16, 32),
        ({"train_config__num_val_samples": 20}, 8, 24),
        ({"train_config__num_val_samples": 16}, 16, 16),
        ({"train_config__num_val_samples": 1567359}, 16, tiny.EVAL_ROWS),
        ({"train_config__num_val_samples": 20, "eval_config__num_steps": 1}, 16, 16),
        ({"train_config__num_val_samples": 20, "eval_config__num_steps": 3}, 16, 32),
    ],
)
def test_an_evaluation_while_training_takes_the_batches_that_hold_so_many_rows(
    tiny_folder, tmp_path, limits, size, rows
) -> None:
    """As one of a file of the first rows; the batches are those of evaluation, and the smaller one
    of the two limits counts."""
    changes = EVALUATED | {"data_config__eval_batch_size": size}
    tiny.pipeline(tiny_folder, tmp_path / "part", **changes, **limits).fit()
    cut = tiny.write(tiny.rows(100_000, rows), tmp_path / "cut.parquet")
    tiny.pipeline(tiny_folder, tmp_path / "cut", **changes, eval_input_path=cut).fit()
    part, whole = (read_results(tmp_path / run / TRAINING_RESULTS) for run in ("part", "cut"))
    assert part == whole


def test_the_evaluation_of_the_command_takes_all_rows(tiny_folder, tmp_path) -> None:
    found = []
    for limits in ({}, {"train_config__num_val_samples": 16}):
        run = tmp_path / f"{len(limits)}"
        tiny.pipeline(tiny_folder, run, **EVALUATED, **limits).fit()
        found.append(tiny.pipeline(tiny_folder, run, **EVALUATED, **limits).evaluate())
    assert found[0] == found[1]
