"""ESMM against sums over rows in float64; what its tasks learn from; and what it refuses."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import parts
import pytest
import torch
from e2e import tiny
from learning.pcgrad import all_orders, by_loops
from models import models_of_tiny
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close
from written import changed, loaded, said_of_all

from tzmmoe.batch import Batch
from tzmmoe.config.dialects.keras import by_label
from tzmmoe.models.esmm import ESMM
from tzmmoe.run.session import Session
from tzmmoe.tasks.task import Task
from tzmmoe.tasks.taskset import TaskSet

WIDTH = 6
BOTTOM = parts.PLAIN | {"hidden_units": [5]}
MLP = parts.PLAIN | {"hidden_units": [4]}
NAN = math.nan
CONFIG_PATH = "model_config.esmm"


class Model(nn.Module):
    """Body and towers over one input."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        defaults = {"bottom_mlp": BOTTOM, "share_bottom": False, "l2_regularization": 0.0}
        defaults |= {"group_networks": ()}
        specs = parts.specs(ctr=1, cvr=1)
        self.body = ESMM({"all": parts.group(a=WIDTH)}, specs, **defaults | settings)
        made = [self.body.tower(place, spec) for place, spec in enumerate(specs)]
        self.towers = nn.ModuleDict({"ctr": made[0], "cvr": made[1]})

    def forward(self, x_BD: Tensor) -> dict[str, Tensor]:
        hidden = self.body({"all": x_BD}).hidden
        return {n: t(h) for (n, t), h in zip(self.towers.items(), hidden, strict=True)}


def tasks(ctcvr_label: str = "", **of_cvr: object) -> TaskSet:
    ctr = parts.task("ctr", label="click", metric=["auc { thresholds: 0 }"], weight=0.7)
    cvr = parts.task("cvr", label="buy", metric=["auc { thresholds: 0 }"], **of_cvr)
    return TaskSet(ESMM.relate([ctr, cvr], {"ctcvr_label": ctcvr_label or None}))


def linear(weights: Mapping[str, Tensor], name: str, x_D: Tensor) -> Tensor:
    weight = weights[f"{name}.weight"]
    bias = weights[f"{name}.bias"]
    return (weight[0] if weight.dim() == 3 else weight) @ x_D + bias.flatten()


def joint_label(click: float, buy: float) -> float | None:
    """None: unknown."""
    if click == 0 or buy == 0:
        return 0.0
    return None if math.isnan(click) or math.isnan(buy) else click * buy


def losses_by_rows(
    weights: Mapping[str, Tensor], bottoms: tuple, x_BD: Tensor, columns: Mapping[str, list]
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the click and of click and conversion, from the probabilities."""
    sums: dict[str, list] = {"ctr": [], "ctcvr": []}
    for row, x_D in enumerate(x_BD):
        probs = {}
        for name, bottom in zip(("ctr", "cvr"), bottoms, strict=True):
            h_D = x_D
            if bottom is not None:
                h_D = linear(weights, f"body.bottoms.{bottom}.layers.0.linear", h_D).relu()
            probs[name] = linear(weights, f"towers.{name}.linear", h_D)[0].sigmoid()
        probs["ctcvr"] = probs["ctr"] * probs["cvr"]
        click, buy = columns["click"][row], columns["buy"][row]
        labels = {"ctr": None if math.isnan(click) else click, "ctcvr": joint_label(click, buy)}
        for name, label in labels.items():
            if label is not None:
                p = probs[name]
                sums[name].append(-label * p.log() - (1 - label) * (1 - p).log())
    return tuple(sum(each) / len(each) for each in sums.values())


COLUMNS = {
    "click": [1.0, 1.0, 0.0, 0.0, 1.0, NAN, NAN, NAN],
    "buy": [1.0, 0.0, 0.0, NAN, NAN, 1.0, 0.0, NAN],
}


@pytest.mark.parametrize(
    ("settings", "bottoms"),
    [
        ({}, (0, 1)),
        ({"share_bottom": True}, (0, 0)),
        ({"bottom_mlp": None}, (None, None)),
    ],
    ids=["own bottoms", "one bottom", "no bottom"],
)
def test_losses_and_gradients_equal_sums_over_rows(settings: dict, bottoms: tuple) -> None:
    """Of which the product's label is 0 as soon as one part is, and otherwise needs both."""
    model, x = parts.shaken(Model(**settings)), parts.normal(8, WIDTH)
    weights = dict(model.named_parameters())
    ctr, ctcvr = losses_by_rows(weights, bottoms, x, COLUMNS)
    found = tasks(weight=2.0).losses(model(x), parts.batch(COLUMNS))
    wanted = {"binary_cross_entropy_ctr": 0.7 * ctr, "binary_cross_entropy_ctcvr": 2.0 * ctcvr}
    assert list(found) == list(wanted)
    for key, loss in wanted.items():
        assert float(found[key].detach()) == pytest.approx(float(loss.detach()), rel=1e-6)
        grads = [
            torch.autograd.grad(each, weights.values(), retain_graph=True, materialize_grads=True)
            for each in (found[key], loss)
        ]
        assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-7)


def test_the_conversion_rate_has_no_loss_but_is_measured_on_the_clicked_rows() -> None:
    logits, columns = parts.impressions(400)
    made = tasks()
    assert made.loss_keys() == ["binary_cross_entropy_ctr", "binary_cross_entropy_ctcvr"]
    batch = parts.batch(columns)
    made.update(made.predict(logits), batch)
    found = made.compute()
    assert list(found) == ["auc_ctr", "auc_cvr", "auc_ctcvr"]
    clicked = (columns["click"] > 0) & ~columns["buy"].isnan()
    alone = TaskSet([parts.task("cvr", label="buy", metric=["auc { thresholds: 0 }"])])
    kept = parts.batch({"buy": columns["buy"][clicked]})
    alone.update(alone.predict({"cvr": logits["cvr"][clicked]}), kept)
    assert found["auc_cvr"] == alone.compute()["auc_cvr"]


def test_results_in_the_spelling_of_keras_have_no_loss_of_the_conversion_rate() -> None:
    made = tasks()
    results = dict.fromkeys([*made.loss_keys(), *made.named_metrics(), "val_loss"], 0.5)
    found = by_label(made.tasks, results)
    assert {key for key in found if key.endswith("loss")} == {"loss", "click_loss", "ctcvr_loss"}
    assert {key for key in found if key.endswith("auc")} == {"click_auc", "cvr_auc", "ctcvr_auc"}


def test_a_label_of_click_and_conversion_takes_the_place_of_the_product() -> None:
    logits, columns = parts.impressions(50)
    click, buy = columns["click"], columns["buy"].nan_to_num(0.0)
    known = columns | {"buy": buy, "both": click * buy}
    losses = [tasks(label).losses(logits, parts.batch(known)) for label in ("", "both")]
    assert losses[0] == losses[1]
    assert {column.name for column in tasks("both").columns()} == {"click", "buy", "both"}


def test_weights_of_the_conversion_are_those_of_the_product() -> None:
    logits, columns = parts.impressions(50)
    counted = columns["weight"] > 0
    assert 0 < counted.sum() < 50
    losses = tasks(sample_weight="weight").losses(logits, parts.batch(columns))
    fewer, kept = ({n: each[counted] for n, each in part.items()} for part in (logits, columns))
    wanted = tasks(sample_weight="weight").losses(fewer, parts.batch(kept))
    key = "binary_cross_entropy_ctcvr"
    assert_close(losses[key], wanted[key])


@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_regularization_is_half_of_the_squares_of_all_kernels(scale: float, tmp_path: Path) -> None:
    """As EasyRec's; biases and tables are left out."""
    folder = models_of_tiny.write("esmm", tmp_path)
    changes = {"model_config__esmm__l2_regularization": scale, "train_config__num_steps": 1}
    found = tiny.pipeline(folder, tmp_path / "run", **changes).fit()
    assert ("regularization" in found) == bool(scale)
    weights: dict[str, Tensor] = {}
    for file in (tmp_path / "run" / "model.ckpt-0" / "tensors").glob("*.safetensors"):
        weights |= load_file(file)
    kernels = [
        weight.double()
        for name, weight in weights.items()
        if name.startswith(("model.body", "model.towers")) and name.endswith("weight")
    ]
    assert len(kernels) == 6
    wanted = scale * sum(float(kernel.square().sum()) for kernel in kernels) / 2
    assert found.get("regularization", 0.0) == pytest.approx(wanted, rel=1e-5)


def trained(session: Session, name: str, gradient: Tensor) -> Tensor:
    """Dense, in float64; of a table without the rows that are not trained."""
    module = session.built.model.get_submodule(name.rpartition(".")[0])
    return gradient.to_dense().double()[: getattr(module, "trained_rows", None)]


def own(session: Session, named: Mapping[str, Tensor], batch: Batch) -> list[dict[str, Tensor]]:
    """The gradients of each task that learns, by plain autograd."""
    losses = session.built.tasks.losses(session.built.model(batch.inputs), batch)
    found = []
    for task in session.built.tasks.learned():
        loss = sum(losses[f"{word}_{task.name}"] for word in task.losses)
        grads = torch.autograd.grad(loss, named.values(), retain_graph=True, allow_unused=True)
        there = {name: grad for name, grad in zip(named, grads, strict=True) if grad is not None}
        found.append({name: trained(session, name, grad) for name, grad in there.items()})
    return found


@pytest.mark.parametrize("share_bottom", [False, True])
def test_gradient_surgery_sees_a_click_and_a_product_that_shares_its_tower(
    share_bottom: bool, tmp_path: Path
) -> None:
    """The cvr tower learns from the product alone, so its gradient stays as it is."""
    session = tiny.session(
        models_of_tiny.write("esmm", tmp_path),
        model_config__esmm__share_bottom=share_bottom,
        model_config__esmm__l2_regularization=0,
        train_config__grad_process="pcgrad",
    )
    stages, model = tiny.train_step(session), session.built.model
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    conflicts = 0
    for step, batch in enumerate(tiny.batches(session, 6)):
        if step % 2:  # clicks without conversions: the tasks pull p(click) apart
            columns = {"click": torch.ones(len(batch)), "buy": torch.zeros(len(batch))}
            batch = replace(batch, columns={**batch.columns, **columns})
        every = own(session, named, batch)
        alone = {name for name in every[1] if name not in every[0]}
        parts_of_cvr = {"tower_cvr"} if share_bottom else {"tower_cvr", "bottoms"}
        assert {name.split(".")[1] for name in alone} == parts_of_cvr
        model.zero_grad()
        stages.backward(session.built.tasks.losses(model(batch.inputs), batch))
        expected = by_loops(every, all_orders(2)[0])
        for name, grad in expected.items():
            found = trained(session, name, named[name].grad)
            assert_close(found, torch.from_numpy(grad), rtol=1e-4, atol=1e-6)
            plain = sum(grads[name] for grads in every if name in grads)
            apart = not torch.allclose(found, plain, rtol=1e-3, atol=1e-5)
            assert not (apart and name in alone)
            conflicts += apart
    assert conflicts


ESMM_TEXT = """esmm {
    bottom_mlp { hidden_units: [4] }
    ctr_tower { label_name: "click" }
    cvr_tower { label_name: "buy" sample_weight_name: "importance" }
  }
}
"""


def config(*changes: tuple[str, str]) -> str:
    before, _, _ = changed().partition("mmoe {")
    return changed(*changes, text=before + ESMM_TEXT)


# Change, path below esmm, words.
FAULTS = [
    (('ctr_tower { label_name: "click" }', ""), "ctr_tower", "give ctr_tower { ... }"),
    (('cvr_tower { label_name: "buy" sample_weight_name: "importance" }', ""), "cvr_tower", "give"),
    (('label_name: "click"',
      'label_name: "click" num_class: 2 losses { softmax_cross_entropy {} }'),
     "ctr_tower.num_class", "is 2; esmm"),
    (('label_name: "click"', 'label_name: "click" losses { l2_loss {} } '), "ctr_tower.losses",
     "l2_loss gives no probabilities"),
    (('label_name: "buy"', 'label_name: "buy" losses { l2_loss {} } '), "cvr_tower.losses",
     "give binary_cross_entropy"),
    (('label_name: "buy"', 'label_name: "buy" losses { hinge_loss {} }'),
     "cvr_tower.losses", "hinge_loss gives no probabilities"),
    (('label_name: "buy"', 'label_name: "buy" output_activation: "tanh"'),
     "cvr_tower.output_activation", "is 'tanh'"),
    (('label_name: "buy"', 'label_name: "buy" tower_name: "ctcvr"'), "cvr_tower.tower_name",
     "'ctcvr'"),
    (('label_name: "buy"', 'label_name: "buy" tower_name: "ctr"'), "", "'ctr'"),
    (('label_name: "buy"', 'label_name: "bay"'), "cvr_tower.label_name", "did you mean 'buy'?"),
    (('label_name: "buy"', 'label_name: "buy" task_space_indicator_label: "click"'),
     "cvr_tower.task_space_indicator_label", "over all rows; remove it"),
    (('label_name: "buy"', 'label_name: "click"'), "cvr_tower.label_name", "the click's label"),
    (('label_name: "buy"', ""), "cvr_tower.label_name", "is not set"),
    (("bottom_mlp {", 'ctcvr_label: "bought" bottom_mlp {'), "ctcvr_label", "'bought' is not in"),
    (("bottom_mlp { hidden_units: [4] }", "share_bottom: true"), "share_bottom", "no bottom_mlp"),
    (("bottom_mlp { hidden_units: [4] }", "bottom_mlp {}"), "bottom_mlp.hidden_units", "above 0"),
    (("bottom_mlp {", "l2_regularization: -1 bottom_mlp {"), "l2_regularization", "0 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "path", "words"), FAULTS)
def test_a_bad_setting_is_a_fault_at_its_field(change, path, words, tmp_path: Path) -> None:
    [line] = said_of_all(loaded(tmp_path, config(change)))
    place = f"{CONFIG_PATH}.{path}" if path else CONFIG_PATH
    assert f"{place}: " in line
    assert words in line


def test_two_models_are_a_fault(tmp_path: Path) -> None:
    lines = said_of_all(loaded(tmp_path, config(("esmm {", "mmoe {} esmm {"))))
    assert any("mmoe" in line and "esmm" in line for line in lines)


def test_a_correct_config_has_no_fault_and_its_towers_are_ctr_and_cvr(tmp_path: Path) -> None:
    read = loaded(tmp_path, config())
    assert said_of_all(read) == []
    towers = read.pipeline.model_config.esmm
    assert (towers.ctr_tower.tower_name, towers.cvr_tower.tower_name) == ("ctr", "cvr")


def test_relating_leaves_the_towers_metrics_to_one_task_each() -> None:
    """A metric that two tasks fed would count the rows of both."""
    metrics = [metric for task in tasks().tasks for metric in task.metrics.values()]
    assert len({id(metric) for metric in metrics}) == len(metrics) == 3
    assert all(isinstance(task, Task) for task in tasks().tasks)
