"""Runs in a model_dir: what they return, and what they leave there."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from run.runs import ONE_EPOCH, go_on, steps

from tzmmoe import train
from tzmmoe.run.results import TRAINING_RESULTS, read_results
from tzmmoe.system import checkpoint

KEYS = ["auc_ctr", "auc_cvr", "binary_cross_entropy_ctr", "binary_cross_entropy_cvr", "val_loss"]


def test_each_evaluation_is_a_line_with_the_step_and_all_keys(finished) -> None:
    lines = [json.loads(line) for line in (finished / TRAINING_RESULTS).read_text().splitlines()]
    assert [list(line) for line in lines] == [["global_step", *KEYS]] * 3
    assert [line["global_step"] for line in lines] == steps(finished) == [5, 10, 12]
    for line in lines:
        losses = [line[key] for key in KEYS if key.startswith("binary")]
        assert line["val_loss"] == pytest.approx(sum(losses))


def test_the_last_line_is_what_fit_returns_and_what_eval_finds(tiny_folder, finished, run) -> None:
    returned = go_on(tiny_folder, run)
    evaluated = tiny.pipeline(tiny_folder, run).evaluate()
    line = json.loads((finished / TRAINING_RESULTS).read_text().splitlines()[-1])
    assert returned == evaluated == {key: line[key] for key in KEYS}
    alone = json.loads((run / "eval_result.txt").read_text())
    assert alone == line


def test_what_cannot_be_computed_is_null(tiny_folder, tmp_path) -> None:
    """AUC of rows that are all of one class."""
    rows = tiny.rows(0, 20)
    rows = rows.set_column(rows.column_names.index("click"), "click", pa.array([1] * 20))
    changes = ONE_EPOCH | {"eval_input_path": tiny.write(rows, tmp_path / "eval.parquet")}
    returned = tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    assert math.isnan(returned["auc_ctr"])
    last = (tmp_path / "run" / TRAINING_RESULTS).read_text().splitlines()[-1]
    assert json.loads(last, parse_constant=pytest.fail)["auc_ctr"] is None


def test_without_eval_files_nothing_is_evaluated(tiny_folder, tmp_path) -> None:
    changes = ONE_EPOCH | {"eval_input_path": ""}
    assert tiny.pipeline(tiny_folder, tmp_path, **changes).fit() == {}
    assert steps(tmp_path) == [5, 10, 12]
    assert not (tmp_path / TRAINING_RESULTS).exists()


def test_the_folder_tells_with_what_the_run_was_made(tiny_folder, finished, run) -> None:
    go_on(tiny_folder, run, train_config__num_epochs=2)
    config = (run / "pipeline.config").read_text()
    assert "num_epochs: 2" in config
    assert "num_epochs: 1" in (finished / "pipeline.config").read_text()
    assert (run / "model.ckpt-25" / "pipeline.config").read_text() == config
    lines = [json.loads(line) for line in (run / "runs.jsonl").read_text().splitlines()]
    assert [line["first_step"] for line in lines] == [0, 13]
    assert {"torch", "pyarrow", "tzmmoe", "device", "command"} <= lines[1].keys()
    assert lines[1]["cpu"] == torch.backends.cpu.get_cpu_capability()
    assert lines[1]["threads"] == str(torch.get_num_threads())


def test_predictions_of_the_last_evaluation_lie_beside_labels_and_reserved_columns(
    tiny_folder, tmp_path, finished
) -> None:
    """The same file when the finished run is asked for it later, or evaluated with it."""
    files = [tmp_path / f"{name}.parquet" for name in ("fit", "later", "eval")]
    changes = ONE_EPOCH | {"eval_config__reserved_columns": "[row, city]"}
    tiny.pipeline(
        tiny_folder, tmp_path / "run", **changes, eval_config__predictions_path=files[0]
    ).fit()
    go_on(tiny_folder, tmp_path / "run", **changes, eval_config__predictions_path=files[1])
    tiny.pipeline(tiny_folder, tmp_path / "run", **changes).evaluate(predictions_path=files[2])
    fit, later, evaluated = (pq.read_table(file) for file in files)
    assert fit.equals(later)
    assert fit.equals(evaluated)
    rows = tiny.rows(100_000, tiny.EVAL_ROWS)
    for name in ("row", "city", "click", "buy"):
        assert fit[name].to_pylist() == rows[name].to_pylist()
    outputs = {f"{kind}_{task}" for kind in ("logits", "probs") for task in ("ctr", "cvr")}
    assert set(fit.column_names) == outputs | {"row", "city", "click", "buy"}
    logits, probs = (torch.tensor(fit[f"{kind}_ctr"].to_pylist()) for kind in ("logits", "probs"))
    torch.testing.assert_close(probs, logits.sigmoid())
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.tensor(fit["click"].to_pylist(), dtype=torch.float32)
    )
    assert read_results(tmp_path / "run" / TRAINING_RESULTS)[-1][
        "binary_cross_entropy_ctr"
    ] == pytest.approx(float(loss), rel=1e-5)


def test_the_flags_of_the_command_do_what_their_names_say(tiny_folder, finished, tmp_path) -> None:
    flags = [
        *("--pipeline_config", str(tiny_folder / "tiny.config"), "--device", "cpu"),
        *("--model_dir", str(tmp_path / "run"), "--set", "train_config.num_steps=3"),
    ]
    predictions = tmp_path / "predictions.parquet"
    train.main([*flags, "--check", "--fine_tune_checkpoint", str(finished)])
    assert not (tmp_path / "run").exists()
    train.main(
        [*flags, "--fine_tune_checkpoint", str(finished), "--predictions_path", str(predictions)]
    )
    assert pq.read_table(predictions).num_rows == tiny.EVAL_ROWS
    assert f'fine_tune_checkpoint: "{finished}"' in (tmp_path / "run/pipeline.config").read_text()
    flags[-1] = "train_config.num_steps=5"
    train.main([*flags, "--continue_train", "--ignore_restore_optimizer"])
    assert checkpoint.open_checkpoint(tmp_path / "run/model.ckpt-4").state["sparse_steps"] == 2


def test_tensorboard_files_lie_in_the_folder_of_the_run(tiny_folder, tmp_path) -> None:
    changes = ONE_EPOCH | {"train_config__use_tensorboard": "true"}
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
