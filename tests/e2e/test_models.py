"""Models besides MMoE, from their config to predictions."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cases import some
from e2e import tiny
from models import models_of_tiny

from tzmmoe import predict

BOTH = ("ctr", "cvr")
OUTPUTS = dict.fromkeys(models_of_tiny.TEXTS, BOTH) | {"esmm": (*BOTH, "ctcvr")}
OF_BOTH = ("binary_cross_entropy_ctr", "binary_cross_entropy_cvr")
LEARNED = dict.fromkeys(models_of_tiny.TEXTS, OF_BOTH) | {
    "ple": ("binary_cross_entropy_ctr", "binary_cross_entropy_cvr", "l2_loss_cvr"),
    "esmm": ("binary_cross_entropy_ctr", "binary_cross_entropy_ctcvr"),
}
STEPS = "train_config__num_steps"


@pytest.fixture(scope="module", params=OUTPUTS)
def model(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_of_tiny.write(model, tmp_path_factory.mktemp(model))


def test_it_learns_is_measured_and_predicts_from_its_export_as_in_evaluation(
    model, folder, tmp_path
) -> None:
    first = tiny.pipeline(folder, tmp_path / "first", **{STEPS: 1}).fit()
    run = tiny.pipeline(folder, tmp_path / "run")
    results = run.fit()
    ends = ("", "_members") if model == "members" else ("",)
    assert {key for key in results if key.startswith("auc")} == {
        f"auc_{task}{end}" for task in OUTPUTS[model] for end in ends
    }
    assert results["binary_cross_entropy_ctr"] < first["binary_cross_entropy_ctr"]
    is_penalized = "l2_regularization" in models_of_tiny.TEXTS[model]
    penalties = ["regularization"] if is_penalized else []
    losses = sum(results[key] for key in (*LEARNED[model], *penalties))
    assert results["val_loss"] == pytest.approx(losses)
    run.evaluate(predictions_path=str(tmp_path / "evaluated.parquet"))
    run.export(str(tmp_path / "export"))
    predict.main(
        [
            *("--saved_model_dir", str(tmp_path / "export"), "--device", "cpu"),
            *("--predict_input_path", str(folder / "eval.parquet"), "--batch_size", "7"),
            *("--predict_output_path", str(tmp_path / "served.parquet")),
        ]
    )
    served, evaluated = (
        pq.read_table(tmp_path / f"{name}.parquet") for name in ("served", "evaluated")
    )
    for task in OUTPUTS[model]:
        for kind in ("probs", "logits"):
            one, other = (each[f"{kind}_{task}"].to_numpy() for each in (served, evaluated))
            assert len(one) == tiny.EVAL_ROWS
            assert np.abs(one - other).max() < 1e-6
    if model == "esmm":
        probs = {task: served[f"probs_{task}"].to_numpy() for task in OUTPUTS[model]}
        assert np.abs(probs["ctr"] * probs["cvr"] - probs["ctcvr"]).max() < 1e-6


@pytest.mark.parametrize("process", some(["", "pcgrad"], ""))
def test_training_on_is_the_same_as_never_having_stopped(folder, tmp_path, process) -> None:
    surgery = {"train_config__grad_process": process}
    tiny.pipeline(folder, tmp_path / "whole", **surgery, **{STEPS: 14}).fit()
    for steps in (6, 14):
        run = tiny.pipeline(folder, tmp_path / "parts", **surgery, **{STEPS: steps})
        run.fit(continue_train=steps == 14)
    ends = [tiny.tensors(tmp_path / name / "model.ckpt-13") for name in ("parts", "whole")]
    assert ends[0] == ends[1]
