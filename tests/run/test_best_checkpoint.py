"""Which checkpoint is the result: after early stopping, and by export_config."""

import json
import logging

import pytest
from e2e import tiny
from messages import says
from run.runs import EARLY, ONE_EPOCH, go_on, scripted, steps

from tzmmoe.errors import CheckpointError
from tzmmoe.system import checkpoint


def test_after_early_stopping_evaluation_and_export_use_the_best_checkpoint(
    tiny_folder, tmp_path, monkeypatch, caplog
) -> None:
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7])
    run = tmp_path / "run"
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, run, **EARLY).fit()
    assert steps(run) == [5, 10, 15, 20]
    assert "stopped early: auc_ctr did not improve on 0.7 for 2 evaluations" in caplog.text
    tiny.pipeline(tiny_folder, run).evaluate()
    assert json.loads((run / "eval_result.txt").read_text())["global_step"] == 10
    with caplog.at_level(logging.INFO):
        caplog.clear()
        tiny.pipeline(tiny_folder, run).export(str(tmp_path / "export"))
    assert f"weights of {run / 'model.ckpt-10'}" in caplog.text


def test_the_newest_checkpoint_is_the_result_where_the_best_is_not_wanted(
    tiny_folder, tmp_path, monkeypatch, caplog
) -> None:
    """Also where the run came to its end before the patience did."""
    caplog.set_level(logging.INFO)
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7])
    changes = EARLY | {
        "train_config__early_stopping": 'monitor: "auc_ctr" patience: 2 restore_best_weights: false'
    }
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert "on 0.7 for 2 evaluations; model.ckpt-20 is the result" in caplog.text
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-20"
    scripted(monkeypatch, [0.5, 0.7, 0.6])
    tiny.pipeline(tiny_folder, tmp_path / "ended", **EARLY | ONE_EPOCH).fit()
    assert checkpoint.preferred(tmp_path / "ended").name == "model.ckpt-12"


def test_a_metric_that_is_never_defined_ends_the_run_and_says_why(
    tiny_folder, tmp_path, caplog
) -> None:
    """An AUC over rows of one class. As with Keras the patience runs out."""
    caplog.set_level(logging.INFO)
    rows = tiny.rows(300_000, 9)
    none = rows.set_column(rows.column_names.index("buy"), "buy", [[0] * 9])
    stopping = 'monitor: "auc_cvr" patience: 2'
    changes = EARLY | {
        "train_config__early_stopping": stopping,
        "eval_input_path": tiny.write(none, tmp_path / "none.parquet"),
    }
    run = tmp_path / "run"
    tiny.pipeline(tiny_folder, run, **changes).fit()
    assert steps(run) == [5, 10]
    [warned] = [line for line in caplog.messages if line.startswith("early_stopping: ")]
    says(warned, "auc_cvr is undefined in the evaluation of step 5", "both classes")
    [stopped] = [line for line in caplog.messages if line.startswith("stopped early: ")]
    says(stopped, "auc_cvr was undefined", "2 evaluations", "model.ckpt-10 is the result")
    best = 'exporter_type: "best" best_exporter_metric: "auc_cvr"'
    with pytest.raises(CheckpointError, match=r"auc_cvr is undefined .*exporter_type"):
        tiny.pipeline(tiny_folder, run, export_config=best).export(str(tmp_path / "export"))


def test_a_run_that_stopped_early_stays_stopped_and_goes_on_with_more_patience(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7])
    tiny.pipeline(tiny_folder, tmp_path, **EARLY).fit()
    go_on(tiny_folder, tmp_path, **EARLY)
    assert steps(tmp_path)[-1] == 20
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-10"
    scripted(monkeypatch, [0.8, 0.1, 0.1, 0.1])
    patient = EARLY | {"train_config__early_stopping": 'monitor: "auc_ctr" patience: 3'}
    go_on(tiny_folder, tmp_path, **patient)
    assert steps(tmp_path)[-1] == 40, "0.8 at step 25 began the count anew"
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-25"


@pytest.mark.parametrize(
    ("export", "step"),
    [
        ('exporter_type: "best" best_exporter_metric: "auc_ctr"', 10),
        ('exporter_type: "best" best_exporter_metric: "auc_ctr" metric_larger_is_better: false', 5),
        ('exporter_type: "latest"', 12),
    ],
)
def test_the_config_tells_which_checkpoint_is_exported(
    tiny_folder, tmp_path, monkeypatch, caplog, export, step
) -> None:
    scripted(monkeypatch, [0.5, 0.7, 0.6])
    tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH).fit()
    made = tiny.pipeline(tiny_folder, tmp_path / "run", export_config=export)
    with caplog.at_level(logging.INFO):
        made.export(str(tmp_path / "export"))
    assert f"weights of {tmp_path / 'run'}/model.ckpt-{step}" in caplog.text
