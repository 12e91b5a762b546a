"""The layer with Keras's arguments in a model of the user's: a run penalizes and constrains it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from messages import fails
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.pipeline import Pipeline
from tzmmoe.run.session import Session
from tzmmoe.serving.scorer import Scorer

MMOE = """mmoe {
    expert_mlp { hidden_units: [8] dropout_ratio: [0.2] }
    num_expert: 3"""
SGD = "train_config.dense_optimizer=sgd_optimizer { lr: 0.5 } constant_learning_rate {}"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    text = (tiny_folder / "tiny.config").read_text()
    assert MMOE in text
    for name, arguments in (("rules", ""), ("plain", "rules: false"), ("lazy", "lazy: true")):
        model = f'custom_model {{ class: "layered.Layered" args {{ units: 4 {arguments} }}'
        (tmp_path / f"{name}.config").write_text(text.replace(MMOE, model))
    return tmp_path


def pipeline(folder: Path, name: str, *settings: str) -> Pipeline:
    settings = (f"model_dir={folder / name}", *settings)
    more = {"device": "cpu", "allow_modules": "layered"}
    return Pipeline.load(folder / f"{name}.config", settings=settings, **more)


def session(folder: Path, name: str) -> Session:
    made = pipeline(folder, name, SGD, "train_config.gradient_accumulation_steps=1")
    return Session.start(made.config, device="cpu", trains=True)


def test_a_step_follows_the_penalties_and_applies_the_constraints(folder: Path) -> None:
    """0.01 of the squares of expert kernels, 0.5 of those of outputs over the rows, by autograd."""
    made = session(folder, "rules")
    [batch] = tiny.batches(made, 1)
    model = made.built.model
    layer = model.body.layer
    outputs = []
    hook = layer.register_forward_hook(lambda _, __, found: outputs.extend(found))
    loss = sum(made.built.tasks.losses(model(batch.inputs), batch).values())
    hook.remove()
    penalty = sum(0.01 * dense.kernel.square().sum() for dense in layer.expert_layers)
    penalty = penalty + sum(0.5 * y.square().sum() / len(y) for y in outputs)
    names = [name for name, _ in layer.named_parameters()]
    gradients = torch.autograd.grad(loss + penalty, list(layer.parameters()))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    tiny.learn(made, tiny.train_step(made), [batch])
    for name, gradient in zip(names, gradients, strict=True):
        wanted = before[name] - 0.5 * gradient
        if name.startswith("gate_layers") and name.endswith("kernel"):
            assert (wanted < 0).any()
            wanted = wanted.clamp(min=0)
        assert_close(layer.state_dict()[name], wanted)


def test_results_hold_the_penalty_and_the_export_predicts_as_the_run_evaluates(
    folder: Path, tiny_folder: Path
) -> None:
    run = pipeline(folder, "rules", "train_config.num_steps=11")
    results = run.fit()
    assert run.evaluate(predictions_path=str(folder / "evaluated.parquet")) == results
    assert results["regularization"] > 0
    rows = pq.read_table(tiny_folder / "eval.parquet")
    scored = Scorer.load(run.export(str(folder / "export"))).score(rows)
    evaluated = pq.read_table(folder / "evaluated.parquet")
    for name in ("probs_ctr", "probs_cvr"):
        np.testing.assert_allclose(scored[name].numpy(), evaluated[name].to_numpy(), atol=1e-6)


def test_without_rules_there_is_no_penalty(folder: Path) -> None:
    assert "regularization" not in pipeline(folder, "plain", "train_config.num_steps=3").fit()


def test_a_layer_that_waits_for_its_width_is_refused(folder: Path) -> None:
    with fails(ConfigError, "lazy.config", "custom_model", "layer", "in_features"):
        pipeline(folder, "lazy").check()
