"""The final evaluation: of the run's result, on files of its own, by metrics of its own."""

import json
import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from run.runs import EARLY, ONE_EPOCH

from tzmmoe import eval
from tzmmoe.errors import ConfigError, DataError
from tzmmoe.run.ends import Interruption
from tzmmoe.run.evaluate import Evaluation, Evaluations
from tzmmoe.run.results import EVALUATION_RESULTS, TRAINING_RESULTS, read_results
from tzmmoe.run.trainer import Trainer
from tzmmoe.system import checkpoint

BY_A_LABEL = '{ grouped_auc { grouping_key: "buy" } }'


@pytest.fixture(scope="module")
def test_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that neither training nor validation has."""
    return tiny.write(tiny.rows(200_000, 77), tmp_path_factory.mktemp("final") / "test.parquet")


def auc(rows: list[tuple[float, float]]) -> float:
    """By all pairs of a positive and a negative; ties count half."""
    positives = [p for p, y in rows if y == 1]
    negatives = [p for p, y in rows if y == 0]
    wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


def test_training_ends_with_the_test_files_and_writes_the_results(
    tiny_folder, test_file, tmp_path
) -> None:
    """S0.55, S0.71, S0.72: three sets; the last one's results as JSON in the form of the seed, by
    labels and short names, in a folder that need not be there."""
    out = tmp_path / "deep" / "results.json"
    changes = {
        **ONE_EPOCH,
        "test_input_path": test_file,
        "eval_config__output_file": out,
        "eval_config__predictions_path": tmp_path / "test_predictions.parquet",
        "eval_config__batch_size": 7,
        "eval_config__task_metrics": '{ name: "ctr" metrics { auc { thresholds: 0 } } '
        "metrics { binary_accuracy {} } }",
    }
    results = tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    predicted = pq.read_table(tmp_path / "test_predictions.parquet").to_pydict()
    assert len(predicted["click"]) == 77
    rows = list(zip(predicted["probs_ctr"], predicted["click"], strict=True))
    right = sum((p > 0.5) == (y == 1) for p, y in rows)
    assert results["auc_ctr"] == pytest.approx(auc(rows), abs=1e-9)
    assert results["binary_accuracy_ctr"] == pytest.approx(right / 77, abs=1e-12)
    [[name, model, values]] = json.loads(out.read_text())["eval_results"]
    assert (name, model) == ("mmoe", str(tmp_path / "run" / "model.ckpt-12"))
    assert values.keys() == {
        *("loss", "click_loss", "click_auc", "click_bacc"),
        *("buy_loss", "buy_auc"),
    }
    assert values["click_auc"] == results["auc_ctr"]
    assert values["loss"] == pytest.approx(values["click_loss"] + values["buy_loss"], abs=1e-7)
    line = read_results(tmp_path / "run" / EVALUATION_RESULTS)
    assert [each["global_step"] for each in line] == [12]
    assert line[0]["auc_ctr"] == pytest.approx(results["auc_ctr"])
    during = read_results(tmp_path / "run" / TRAINING_RESULTS)[-1]
    assert "binary_accuracy_ctr" not in during
    assert during["auc_ctr"] != results["auc_ctr"]


def test_a_run_that_stopped_early_is_tested_with_its_best_weights(
    tiny_folder, test_file, tmp_path
) -> None:
    """S0.69: the best weights are the result; what tzmmoe.eval finds later is the same."""
    changes = EARLY | {"test_input_path": test_file}
    results = tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    best = checkpoint.preferred(tmp_path)
    assert best != checkpoint.newest(tmp_path)
    assert results == tiny.pipeline(tiny_folder, tmp_path, **changes).evaluate(str(best))
    last = tiny.pipeline(tiny_folder, tmp_path, **changes).evaluate(
        str(checkpoint.newest(tmp_path))
    )
    assert last != results


@pytest.mark.parametrize(
    "changes",
    [
        {"train_config__num_val_samples": 16, "data_config__eval_batch_size": 8},
        {"eval_config__task_metrics": '{ name: "ctr" metrics { binary_accuracy {} } }'},
    ],
)
def test_a_run_evaluated_in_part_or_by_other_metrics_ends_with_a_final_evaluation(
    tiny_folder, tmp_path, changes
) -> None:
    """On the same files, but of all rows and by all metrics."""
    results = tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH, **changes).fit()
    during = read_results(tmp_path / TRAINING_RESULTS)[-1]
    assert results == tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH, **changes).evaluate()
    assert results.items() - during.items()


def test_predictions_are_those_of_the_best_weights_if_the_last_step_is_not_the_best(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    """The run stops early at its last step, whose evaluation has already written predictions."""
    original = Evaluations.after

    def falling(self: Evaluations, step: int, *, is_last: bool) -> dict[str, float]:
        return original(self, step, is_last=is_last) | {"auc_ctr": 1 / step}

    monkeypatch.setattr(Evaluations, "after", falling)
    run, files = tmp_path / "run", [tmp_path / f"{name}.parquet" for name in ("run", "best")]
    changes = EARLY | ONE_EPOCH | {"eval_config__predictions_path": files[0]}
    tiny.pipeline(tiny_folder, run, **changes).fit()
    assert checkpoint.newest(run).name == "model.ckpt-12"
    assert checkpoint.preferred(run).name == "model.ckpt-5"
    tiny.pipeline(tiny_folder, run, **ONE_EPOCH).evaluate(predictions_path=str(files[1]))
    assert len({tuple(pq.read_table(file)["logits_ctr"].to_pylist()) for file in files}) == 1


def test_eval_reads_the_test_files_of_the_config_unless_the_command_names_others(
    tiny_folder, test_file, tmp_path
) -> None:
    config = tmp_path / "tested.config"
    text = (tiny_folder / "tiny.config").read_text()
    config.write_text(f'test_input_path: "{test_file}"\n{text}')
    flags = ["--pipeline_config", str(config), "--model_dir", str(tmp_path / "run")]
    tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH).fit()
    found = []
    for more in (
        [],
        ["--eval_input_path", str(tiny_folder / "eval.parquet")],
        ["--test_input_path", str(tiny_folder / "eval.parquet")],
        ["--test_input_path", ""],
    ):
        eval.main([*flags, *more])
        found.append(read_results(tmp_path / "run" / EVALUATION_RESULTS)[-1])
    assert found[1] == found[2] == found[3]
    assert found[0] != found[1]
    validation = read_results(tmp_path / "run" / TRAINING_RESULTS)[-1]
    assert found[1] == pytest.approx(validation)


@pytest.mark.parametrize(
    ("every", "changes", "count"),
    [
        (5, {}, 3),
        (100, {}, 1),
        (100, {"eval_config__task_metrics": '{ name: "ctr" metrics { auc {} } }'}, 2),
    ],
)
def test_predictions_are_written_once_and_by_the_last_evaluation_without_a_further_pass(
    tiny_folder, tmp_path, monkeypatch, caplog, every, changes, count
) -> None:
    """But in a pass of its own if the final evaluation is another."""
    caplog.set_level(logging.INFO)
    passes = []
    original = Evaluation._pass

    def counted(self: Evaluation, *rest: object) -> dict[str, float]:
        passes.append(self.path)
        return original(self, *rest)

    monkeypatch.setattr(Evaluation, "_pass", counted)
    file = tmp_path / "predictions.parquet"
    changes = ONE_EPOCH | changes | {"eval_config__predictions_path": file}
    changes["train_config__save_checkpoints_steps"] = every
    tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    assert len(passes) == count
    assert len([line for line in caplog.messages if str(file) in line]) == 1
    logits = pq.read_table(file)["logits_ctr"].to_pylist()
    passes.clear()
    again = tmp_path / "again.parquet"
    tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH).evaluate(predictions_path=str(again))
    assert pq.read_table(again)["logits_ctr"].to_pylist() == logits


def test_a_signal_stops_an_evaluation_that_writes_predictions(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    """And no half of a file is left."""
    run = tiny.pipeline(
        tiny_folder,
        tmp_path / "run",
        **ONE_EPOCH,
        eval_config__predictions_path=tmp_path / "half.parquet",
        train_config__save_checkpoints_steps=100,
    )

    def stop(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Interruption, "stop_if_asked", stop)
    monkeypatch.setattr(Trainer, "_stop_on_signal", lambda self: None)
    with pytest.raises(KeyboardInterrupt):
        run.fit()
    assert not list(tmp_path.glob("*half*"))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"test_input_path": "nowhere.parquet"}, DataError, "nowhere.parquet"),
        (
            {"eval_config__output_file": "."},
            ConfigError,
            "output_file: . is a folder; choose",
        ),
        (
            {"eval_config__task_metrics": '{ name: "ctrr" metrics { auc {} } }'},
            ConfigError,
            r"task_metrics\[0\].name: 'ctrr' .*did you mean 'ctr'",
        ),
        (
            {"eval_config__task_metrics": '{ name: "ctr" metrics {} }'},
            ConfigError,
            r"task_metrics\[0\].metrics\[0\]: is empty; give one of auc",
        ),
        (
            {"eval_config__task_metrics": '[{ name: "ctr" }, { name: "click" }]'},
            ConfigError,
            r"task_metrics\[1\].name: 'click' .*twice",
        ),
        (
            {"eval_config__task_metrics": '{ name: "ctr" ' + f"metrics {BY_A_LABEL} }}"},
            ConfigError,
            r"^\S+ eval_config\.task_metrics: 'buy' is used as group and as label; "
            r".*different column",
        ),
        (
            {
                "eval_config__task_metrics": '{ name: "ctr" metrics { auc {} } }',
                "model_config__mmoe__task_towers[0]__metrics": BY_A_LABEL,
            },
            ConfigError,
            r"^\S+ model_config: 'buy' is used as group and as label; .*different column",
        ),
    ],
)
def test_what_is_wrong_with_the_final_evaluation_shows_before_the_first_step(
    tiny_folder, tmp_path, changes, error, words
) -> None:
    with pytest.raises(error, match=words):
        tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    assert not checkpoint.find(tmp_path / "run")


def test_watched_keys_may_be_spelled_as_keras_does(tiny_folder, tmp_path) -> None:
    """S0.69: by label or tower, with val_ before; val_loss is the sum of all."""
    runs = {}
    for monitor in ("auc_ctr", "val_click_auc", "val_ctr_auc", "click_auc"):
        stopping = f'monitor: "{monitor}" patience: 2'
        folder = tmp_path / monitor
        changes = EARLY | {"train_config__early_stopping": stopping}
        tiny.pipeline(tiny_folder, folder, **changes).fit()
        runs[monitor] = checkpoint.preferred(folder).name
    assert len(set(runs.values())) == 1
    stopping = 'monitor: "val_click_loss" patience: 1 min_delta: 10'
    tiny.pipeline(
        tiny_folder, tmp_path / "loss", **EARLY | {"train_config__early_stopping": stopping}
    ).fit()
    assert checkpoint.newest(tmp_path / "loss").name == "model.ckpt-10"
    with pytest.raises(ConfigError, match="'val_click_acu' is not evaluated"):
        tiny.pipeline(
            tiny_folder, tmp_path / "no", train_config__early_stopping='monitor: "val_click_acu"'
        ).fit()


def test_nan_is_null_in_the_json(tiny_folder, tmp_path) -> None:
    """An AUC without positives has no value; JSON has no NaN."""
    rows = tiny.rows(300_000, 9)
    none = rows.set_column(rows.column_names.index("buy"), "buy", [[0] * 9])
    file = tiny.write(none, tmp_path / "none.parquet")
    out = tmp_path / "results.json"
    tiny.pipeline(
        tiny_folder,
        tmp_path / "run",
        **ONE_EPOCH,
        test_input_path=file,
        eval_config__output_file=out,
    ).fit()
    values = json.loads(out.read_text())["eval_results"][0][2]
    assert values["buy_auc"] is None
    assert torch.tensor(values["loss"]).isfinite()
