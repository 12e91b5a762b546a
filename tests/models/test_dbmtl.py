"""DBMTL, shared bottom and plain towers against loops over rows, and their laws."""

import logging
from collections.abc import Mapping
from itertools import permutations, product
from pathlib import Path
from typing import Any

import parts
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.testing import assert_close
from written import changed, loaded, notes, said, said_of_all

from tzmmoe.models.dbmtl import DBMTL
from tzmmoe.models.shared_bottom import SharedBottom
from tzmmoe.models.simple_multi_task import SimpleMultiTask
from tzmmoe.nn.mlp import StackedLinear
from tzmmoe.tables.penalties import penalized, regularization

WIDTH, TASKS = 6, 3
Weights = Mapping[str, Tensor]


def layers(*units: int, **changes: Any) -> dict[str, Any]:
    return parts.PLAIN | {"hidden_units": list(units)} | changes


FULL = {"bottom_mlp": layers(7), "expert_mlp": layers(5, 4), "gate_mlp": layers(3), "num_expert": 4}
SHAPES = [
    dict(zip(("bottom_mlp", "expert_mlp", "gate_mlp"), each, strict=True))
    for each in product((None, FULL["bottom_mlp"]), (None, FULL["expert_mlp"]), (None, layers(3)))
]
ALL = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: ", ".join(n for n in s if s[n]))


def made(shape: Mapping[str, Any], *, l2: float = 0.0, num_expert: int = 4) -> DBMTL:
    """In float64, every parameter off its start."""
    torch.manual_seed(0)
    towers = parts.specs(**{f"t{t}": 1 for t in range(TASKS)})
    groups = {"all": parts.group(a=WIDTH)}
    return parts.shaken(
        DBMTL(groups, towers, num_expert=num_expert, num_members=1, l2_regularization=l2, **shape)
    )


def run(model: nn.Module, x_BD: Tensor) -> list[Tensor]:
    inputs = model({"all": x_BD})
    assert inputs.addends is None
    return list(inputs.hidden)


def network(weights: Weights, prefix: str, number: int, x_D: Tensor) -> Tensor:
    """One of the networks of a stack: relu(W x + b), layer by layer."""
    layer = 0
    while f"{prefix}.layers.{layer}.linear.weight" in weights:
        own = f"{prefix}.layers.{layer}.linear"
        x_D = (weights[f"{own}.weight"][number] @ x_D + weights[f"{own}.bias"][number]).relu()
        layer += 1
    return x_D


def by_rows(weights: Weights, shape: Mapping[str, Any], x_BD: Tensor) -> list[Tensor]:
    """Of each task (B, H)."""
    found: list[list[Tensor]] = [[] for _ in range(TASKS)]
    for x_D in x_BD:
        h_D = network(weights, "bottom", 0, x_D)
        for task in range(TASKS):
            if not shape["expert_mlp"]:
                found[task].append(h_D)
                continue
            gate = network(weights, "gates.mlp", task, h_D)
            scores = weights["gates.final.weight"][task] @ gate + weights["gates.final.bias"][task]
            total = sum(score.exp() for score in scores)
            each = [network(weights, "experts", e, h_D) for e in range(len(scores))]
            mixed = sum(s.exp() / total * expert for s, expert in zip(scores, each, strict=True))
            found[task].append(mixed)
    return [torch.stack(rows) for rows in found]


@ALL
def test_outputs_and_gradients_equal_loops_over_rows_tasks_and_experts(shape) -> None:
    model, x = made(shape), parts.normal(4, WIDTH).requires_grad_()
    weights = dict(model.named_parameters())
    found, wanted = run(model, x), by_rows(weights, shape, x)
    assert_close(found, wanted)
    assert model.out_features == [each.shape[1] for each in wanted]
    loss = [
        sum((parts.normal(*y.shape, seed=t) * y).sum() for t, y in enumerate(ys))
        for ys in (found, wanted)
    ]
    grads = [torch.autograd.grad(each, [x, *weights.values()]) for each in loss]
    assert_close(grads[0], grads[1])


def test_gradients_equal_finite_differences() -> None:
    smooth = {n: layers(*units, activation="nn.Tanh") for n, units in UNITS.items()}
    model = made(smooth)
    names, values = zip(*model.named_parameters(), strict=True)

    def outputs(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(names, parameters, strict=True))
        return tuple(functional_call(model, own, {"all": x}).hidden)

    assert gradcheck(outputs, (parts.normal(3, WIDTH).requires_grad_(), *values))


UNITS = {"bottom_mlp": (4,), "expert_mlp": (3, 2), "gate_mlp": (2,)}


@ALL
def test_rows_do_not_see_each_other(shape) -> None:
    model, x = made(shape), parts.normal(9, WIDTH)
    order = torch.randperm(9, generator=parts.generator(1))
    assert_close(run(model, x[order]), [task[order] for task in run(model, x)])
    for rows in (slice(0, 0), slice(4, 5)):
        assert_close(run(model, x[rows]), [task[rows] for task in run(model, x)])


@pytest.mark.parametrize("order", list(permutations(range(TASKS)))[1:])
def test_tasks_in_another_order_have_the_same_inputs_in_that_order(order) -> None:
    model, other, x = made(SHAPES[-1]), made(SHAPES[-1]), parts.normal(5, WIDTH)
    state = model.state_dict()
    for name in state:
        if name.startswith("gates."):
            state[name] = state[name][list(order)]
    other.load_state_dict(state)
    before = run(model, x)
    assert_close(run(other, x), [before[task] for task in order])


def test_experts_in_another_order_make_no_difference() -> None:
    model, other, x = made(SHAPES[-1]), made(SHAPES[-1]), parts.normal(5, WIDTH)
    state, order = model.state_dict(), [2, 0, 3, 1]
    for name in state:
        if name.startswith("experts."):
            state[name] = state[name][order]
        elif name.startswith("gates.final."):
            state[name] = state[name][:, order]
    other.load_state_dict(state)
    assert_close(run(other, x), run(model, x))


def test_with_one_expert_it_is_a_deeper_shared_bottom() -> None:
    shape = {"bottom_mlp": layers(7), "expert_mlp": layers(5, 4), "gate_mlp": None}
    model, x = made(shape, num_expert=1), parts.normal(5, WIDTH)
    groups, towers = {"all": parts.group(a=WIDTH)}, parts.specs(a=1, b=1, c=1)
    deep = layers(7, 5, 4)
    flat = SharedBottom(
        groups, towers, bottom_mlp=deep, num_members=1, l2_regularization=0.0
    ).double()
    of_model = [p for n, p in model.named_parameters() if not n.startswith("gates.")]
    with torch.no_grad():
        for own, other in zip(flat.parameters(), of_model, strict=True):
            own.copy_(other)
    assert_close(run(flat, x), run(model, x))


def test_a_shared_bottom_gives_each_task_what_its_layers_make_of_a_row() -> None:
    groups, towers = {"all": parts.group(a=WIDTH)}, parts.specs(a=1, b=1)
    made = SharedBottom(
        groups, towers, bottom_mlp=layers(5, 4), num_members=1, l2_regularization=0.0
    )
    model, x = parts.shaken(made), parts.normal(5, WIDTH)
    weights = dict(model.named_parameters())
    wanted = torch.stack([network(weights, "bottom", 0, x_D) for x_D in x])
    assert_close(run(model, x), [wanted, wanted])
    assert model.out_features == [4, 4]


def test_plain_towers_read_the_features_of_the_group_named_all() -> None:
    groups = {"other": parts.group(b=2), "all": parts.group(a=WIDTH)}
    model = SimpleMultiTask(groups, parts.specs(a=1, b=1), l2_regularization=0.0)
    x = parts.normal(5, WIDTH)
    assert all(torch.equal(each, x) for each in run(model, x))
    assert list(model.parameters()) == []
    assert (model.groups, model.out_features) == ({"all": ["a"]}, [WIDTH, WIDTH])


@ALL
def test_regularization_is_half_of_the_squares_of_all_kernels(shape) -> None:
    """As EasyRec's: s sum w^2 / 2, without biases."""
    model = made(shape, l2=0.3)
    tower = model.tower(0, parts.specs(t=1)[0]).double()
    kernels = [
        part.weight.detach().square().sum()
        for module in (model, tower)
        for part in module.modules()
        if isinstance(part, (nn.Linear, StackedLinear))
    ]
    both = nn.ModuleList([model, tower])
    assert_close(regularization(penalized(both)).detach(), 0.3 * sum(kernels) / 2)


MODEL = """dbmtl {
    bottom_mlp { hidden_units: [4] }
    expert_mlp { hidden_units: [3] }
    num_expert: 2
"""
PATH = "model_config.dbmtl"


def config(*changes: tuple[str, str], model: str = MODEL) -> str:
    text = changed().replace("    expert_mlp { hidden_units: [4] }\n    num_expert: 2\n", "")
    return changed(("mmoe {\n", model), *changes, text=text)


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (("num_expert: 2", "num_expert: 0"), "num_expert", "is 0; give 1 or more, or remove"),
        (("bottom_mlp { hidden_units: [4] }", "bottom_mlp {}"), "bottom_mlp.hidden_units", "[]"),
        (("expert_mlp { hidden_units: [3] }", "expert_mlp {}"), "expert_mlp.hidden_units", "[]"),
        (("expert_mlp {", "gate_mlp {} expert_mlp {"), "gate_mlp.hidden_units", "[]"),
        (("expert_mlp {", "l2_regularization: -1 expert_mlp {"), "l2_regularization", "0 or more"),
        (("expert_mlp {", "mask_net {} expert_mlp {"), "mask_net", "TorchEasyRec"),
        (("expert_mlp {", "bottom_cmbf {} expert_mlp {"), "bottom_cmbf", "EasyRec"),
    ],
)
def test_a_bad_setting_is_a_fault_at_its_field(change, path, words, tmp_path: Path) -> None:
    [line] = said_of_all(loaded(tmp_path, config(change)))
    assert f"{PATH}.{path}: " in line
    assert words in line


def test_a_shared_bottom_needs_layers(tmp_path: Path) -> None:
    [line] = said_of_all(loaded(tmp_path, config(model="shared_bottom {\n")))
    assert "model_config.shared_bottom.bottom_mlp: is not set; give bottom_mlp {" in line
    for model in ("shared_bottom { l2_regularization: -1 bottom_mlp { hidden_units: [2] }\n",
                  "simple_multi_task { l2_regularization: -1\n"):  # fmt: skip
        [line] = said_of_all(loaded(tmp_path, config(model=model)))
        assert "l2_regularization: is -1; give 0 or more" in line


def test_what_has_no_effect_without_experts_is_said(tmp_path: Path) -> None:
    model = "dbmtl {\n bottom_mlp { hidden_units: [4] } num_expert: 3 gate_mlp {hidden_units: 2}\n"
    read = loaded(tmp_path, config(model=model))
    assert said(read) == []
    lines = notes(read)
    for name in ("num_expert", "gate_mlp"):
        assert any(f"{PATH}.{name} has no effect without expert_mlp" in line for line in lines)
    lines = notes(loaded(tmp_path, config(('"cvr"', '"cvr" relation_tower_names: "ctr"'))))
    assert not any("dbmtl" in line for line in lines)


def test_other_groups_are_said_to_be_unread(caplog: pytest.LogCaptureFixture) -> None:
    groups = {"other": parts.group(b=2), "all": parts.group(a=WIDTH)}
    with caplog.at_level(logging.WARNING):
        SimpleMultiTask(groups, parts.specs(a=1), l2_regularization=0.0)
    [line] = caplog.messages
    assert "simple_multi_task reads the feature group 'all' only, not: other" in line
