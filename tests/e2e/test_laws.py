"""Laws of whole runs: stopping changes nothing, workers change nothing, serving changes nothing."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from cases import some
from e2e import tiny

from tzmmoe import predict
from tzmmoe.pipeline import Pipeline
from tzmmoe.synthetic import __main__

ROOT = Path(__file__).parents[2]
STEPS, EPOCHS = "train_config__num_steps", "train_config__num_epochs"


@pytest.fixture(scope="module", params=[".parquet", ".csv", ".csv.gz"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_all(tmp_path_factory.mktemp("tiny"), suffix=request.param)


BY_STEPS = [{STEPS: steps} for steps in (6, 11, 26, 31)]  # where checkpoints are due anyway
BY_EPOCHS = [{EPOCHS: epochs, "train_config__save_checkpoints_epochs": 1} for epochs in (1, 2)]


@pytest.mark.parametrize("parts", [BY_STEPS, BY_EPOCHS], ids=["steps", "epochs"])
def test_training_on_is_the_same_as_never_having_stopped(folder, tmp_path, parts) -> None:
    """Bit for bit: weights, moments, randomness, position, and the file of results; with dropout,
    batch norm, shuffle, a schedule, and an accumulation of 2 batches that a stop cuts in half."""
    tiny.pipeline(folder, tmp_path / "whole", **parts[-1]).fit()
    for part in parts:
        tiny.pipeline(folder, tmp_path / "parts", **part).fit(continue_train=part != parts[0])
    assert tiny.end(tmp_path / "parts") == tiny.end(tmp_path / "whole")


@pytest.fixture(scope="module")
def of_18_steps(tiny_folder, tmp_path_factory) -> Path:
    """The model_dir of an undisturbed run."""
    model_dir = tmp_path_factory.mktemp("whole")
    tiny.pipeline(tiny_folder, model_dir, **{STEPS: 18}).fit()
    return model_dir


@pytest.mark.parametrize("stop", some([1, 9, 13, 17], 1, 9, 17))
def test_a_checkpoint_that_comes_between_changes_nothing(
    tiny_folder, tmp_path, of_18_steps, stop
) -> None:
    """N steps and then 18 - N, for an N at which no checkpoint is due."""
    tiny.pipeline(tiny_folder, tmp_path / "parts", **{STEPS: stop}).fit()
    tiny.pipeline(tiny_folder, tmp_path / "parts", **{STEPS: 18}).fit(continue_train=True)
    one, other = (tiny.tensors(run / "model.ckpt-17") for run in (tmp_path / "parts", of_18_steps))
    assert one == other


def test_the_number_of_workers_changes_nothing(tiny_folder, tmp_path) -> None:
    for workers in (0, 1, 4):
        tiny.pipeline(tiny_folder, tmp_path / f"{workers}", data_config__num_workers=workers).fit()
    assert tiny.end(tmp_path / "0") == tiny.end(tmp_path / "1") == tiny.end(tmp_path / "4")


def test_the_same_seed_gives_the_same_run_and_another_one_another(tiny_folder, tmp_path) -> None:
    short = {STEPS: 6, "eval_input_path": ""}
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run = tiny.pipeline(tiny_folder, tmp_path / name, **short, runtime_config__seed=seed)
        torch.rand(10)
        run.fit()
    one, same, other = (tiny.tensors(tmp_path / name / "model.ckpt-5") for name in "abc")
    assert one == same
    trained = [name for name in one if name.endswith("weight")]
    assert all(one[name] != other[name] for name in trained)


def test_on_a_processor_a_run_is_deterministic_without_being_told_to(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    tiny.pipeline(tiny_folder, tmp_path / "plain", **{STEPS: 18}).fit()
    try:
        told = {STEPS: 18, "runtime_config__deterministic": "true"}
        tiny.pipeline(tiny_folder, tmp_path / "told", **told).fit()
    finally:
        torch.use_deterministic_algorithms(False)
    assert tiny.end(tmp_path / "plain") == tiny.end(tmp_path / "told")


def test_csv_and_parquet_of_the_same_rows_give_the_same_run(tmp_path) -> None:
    ends = []
    for suffix in (".parquet", ".csv"):
        made = tiny.write_all(tmp_path / suffix[1:], suffix=suffix)
        tiny.pipeline(made, tmp_path / f"run{suffix}").fit()
        found = tiny.end(tmp_path / f"run{suffix}")
        del found["state.json"]  # names the files
        ends.append(found)
    assert ends[0] == ends[1]


def test_predictions_of_the_export_are_those_of_evaluation(tiny_folder, tmp_path) -> None:
    """The export is read by the command line, without the config; the files need no labels."""
    run = tiny.pipeline(tiny_folder, tmp_path / "run")
    run.fit()
    run.evaluate(predictions_path=str(tmp_path / "evaluated.parquet"))
    run.export(str(tmp_path / "export"))
    unlabelled = tiny.rows(100_000, tiny.EVAL_ROWS).drop_columns(["click", "buy", "importance"])
    predict.main(
        [
            *("--saved_model_dir", str(tmp_path / "export"), "--device", "cpu"),
            *("--predict_input_path", str(tiny.write(unlabelled, tmp_path / "rows.parquet"))),
            *("--predict_output_path", str(tmp_path / "served.parquet"), "--batch_size", "7"),
        ]
    )
    served, evaluated = (
        pq.read_table(tmp_path / f"{name}.parquet") for name in ("served", "evaluated")
    )
    assert sorted(served.column_names) == ["logits_ctr", "logits_cvr", "probs_ctr", "probs_cvr"]
    for name in served.column_names:
        one, other = (torch.tensor(each[name].to_pylist()) for each in (served, evaluated))
        assert len(one) == tiny.EVAL_ROWS
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_shipped_config_ranks_almost_as_well_as_the_probabilities_behind_the_labels(
    tmp_path,
) -> None:
    """Within 0.01 of the best AUC that any model can have, and not above it by a leak."""
    rows = ["--rows", "300000", "--eval_rows", "50000", "--out", str(tmp_path)]
    __main__.main(rows)
    best = json.loads((tmp_path / "optimum.json").read_text())["eval"]
    paths = {"train_input_path": "train", "eval_input_path": "eval", "model_dir": "run"}
    settings = [f"{name}={tmp_path / path}" for name, path in paths.items()]
    settings += ["train_config.save_checkpoints_epochs=2", "train_config.use_tensorboard=false"]
    config = ROOT / "configs" / "synthetic_mmoe.config"
    found = Pipeline.load(config, settings=settings, device="cpu").fit()
    for key in ("auc_ctr", "auc_cvr_in_space"):
        assert best[key] - 0.01 < found[key] < best[key] + 0.005, key
