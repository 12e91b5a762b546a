"""MMoE against loops over tasks and experts, and its laws."""

import logging
import math
from typing import Any

import oracles
import parts
import pytest
import torch
from messages import fails
from torch import Tensor
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.models.mmoe import MMoE

EXPERTS = parts.PLAIN | {"hidden_units": [5, 4]}
GATES = {"linear": None, "mlp": parts.PLAIN | {"hidden_units": [3]}}
ALL = {"all": parts.group(a=6)}
TWO = parts.specs(a=1, b=1)
BOTH = pytest.mark.parametrize("gate", GATES)


def made(num_experts: int, num_tasks: int, gate: str, **expert_mlp: Any) -> MMoE:
    """In float64, every parameter off its start; 6 inputs."""
    torch.manual_seed(0)
    experts = EXPERTS | expert_mlp
    towers = parts.specs(**{f"t{t}": 1 for t in range(num_tasks)})
    model = MMoE(
        ALL,
        towers,
        expert_mlp=experts,
        gate_mlp=GATES[gate],
        num_expert=num_experts,
        **parts.ALONE,
        gate_temperature=1.0,
        gate_dropout=0.0,
        gate_entropy_weight=0.0,
        gate_balance_weight=0.0,
    )
    return parts.shaken(model)


def mixed(model: MMoE, x_BD: Tensor) -> list[Tensor]:
    inputs = model({"all": x_BD})
    assert inputs.addends is None
    return list(inputs.hidden)


@BOTH
@pytest.mark.parametrize(("num_experts", "num_tasks"), [(1, 1), (1, 3), (3, 1), (3, 2), (6, 4)])
def test_mixture_equals_a_loop_over_tasks_and_experts(
    num_experts: int, num_tasks: int, gate: str
) -> None:
    model, x = made(num_experts, num_tasks, gate), parts.normal(5, 6)
    assert_close(mixed(model, x), oracles.mmoe_by_loops(model, x))


@pytest.mark.parametrize("norm", [{"use_bn": True}, {"use_ln": True}])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["nn.PReLU", "Dice", "nn.LeakyReLU(negative_slope=0.1)"])
def test_mixture_of_normalised_experts_equals_the_loop(
    norm: dict[str, bool], training: bool, activation: str
) -> None:
    """Batch norm of an expert is learned and kept as that of a network of its own."""
    model = made(3, 2, "linear", activation=activation, **norm).train(training)
    x = parts.normal(8, 6)
    wanted = oracles.mmoe_by_loops(model, x, activation)
    assert_close(mixed(model, x), wanted)


def test_mixture_of_real_size_equals_the_loop() -> None:
    """16 features of width 16, 3 experts of 512, 256, 128 units, 2 tasks, in single precision."""
    torch.manual_seed(0)
    experts = parts.PLAIN | {"hidden_units": [512, 256, 128]}
    model = MMoE(
        {"all": parts.group(a=256)},
        TWO,
        expert_mlp=experts,
        gate_mlp=None,
        num_expert=3,
        **parts.ALONE,
        gate_temperature=1.0,
        gate_dropout=0.0,
        gate_entropy_weight=0.0,
        gate_balance_weight=0.0,
    )
    x = parts.normal(300, 256, dtype=torch.float32)
    wanted = oracles.mmoe_by_loops(model, x)
    for found, each in zip(mixed(model, x), wanted, strict=True):
        assert_close(found.double(), each, rtol=1e-4, atol=1e-5)


@BOTH
def test_with_one_expert_every_tower_sees_that_expert(gate: str) -> None:
    model, x = made(1, 3, gate), parts.normal(5, 6)
    [expert] = oracles.networks(model.experts, "nn.ReLU")
    assert_close(mixed(model, x), [expert(x)] * 3)


@BOTH
def test_equal_experts_give_that_expert_whatever_the_gates(gate: str) -> None:
    """Because the gates of a task add up to 1."""
    model, x = made(4, 2, gate), parts.normal(5, 6)
    with torch.no_grad():
        for parameter in model.experts.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    expert = oracles.networks(model.experts, "nn.ReLU")[0]
    assert_close(mixed(model, x), [expert(x)] * 2)


@BOTH
def test_a_gate_with_one_large_bias_chooses_that_expert(gate: str) -> None:
    model, x = made(4, 2, gate), parts.normal(5, 6)
    with torch.no_grad():
        model.gates.final.bias[0, 3] += 1e6
        model.gates.final.bias[1, 1] += 1e6
    experts = oracles.networks(model.experts, "nn.ReLU")
    assert_close(mixed(model, x), [experts[3](x), experts[1](x)])


@BOTH
def test_the_order_of_experts_does_not_matter(gate: str) -> None:
    model, x = made(4, 2, gate), parts.normal(5, 6)
    before = mixed(model, x)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for parameter in model.experts.parameters():
            parameter.copy_(parameter[order])
        for parameter in model.gates.final.parameters():
            parameter.copy_(parameter[:, order])
    assert_close(mixed(model, x), before)


@BOTH
def test_permuted_rows_give_permuted_outputs(gate: str) -> None:
    model, x = made(3, 2, gate), parts.normal(9, 6)
    order = torch.randperm(9, generator=parts.generator(1))
    assert_close(mixed(model, x[order]), [task[order] for task in mixed(model, x)])


@BOTH
def test_a_row_alone_gives_what_it_gives_among_others(gate: str) -> None:
    model, x = made(3, 2, gate), parts.normal(9, 6)
    for rows in (x[:0], x[4:5]):
        wanted = [task[4 : 4 + len(rows)] for task in mixed(model, x)]
        assert_close(mixed(model, rows), wanted)


@BOTH
def test_a_task_teaches_all_experts_and_no_other_tasks_gate(gate: str) -> None:
    model, x = made(3, 2, gate), parts.normal(9, 6)
    mixed(model, x)[0].square().sum().backward()
    for parameter in model.experts.layers[-1].parameters():
        assert (parameter.grad.flatten(1).abs().sum(dim=1) > 0).all()
    for parameter in model.gates.parameters():
        own, other = parameter.grad.unflatten(0, (2, -1))
        assert own.abs().sum() > 0
        assert other.abs().sum() == 0


@BOTH
def test_gradients_equal_finite_differences(gate: str) -> None:
    model = made(3, 2, gate, activation="nn.Tanh")
    names, values = zip(*model.named_parameters(), strict=True)

    def run(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(names, parameters, strict=True))
        return tuple(functional_call(model, own, {"all": x}).hidden)

    assert gradcheck(run, (parts.normal(4, 6).requires_grad_(), *values))


@pytest.mark.parametrize(
    ("widths", "read"),
    [({"a": 6}, "a"), ({"a": 6, "b": 3}, "a"), ({"b": 3, "all": 6}, "all")],
)
def test_it_reads_one_group_and_names_those_it_does_not_read(
    widths: dict[str, int], read: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        groups = {name: parts.group(a=width) for name, width in widths.items()}
        model = MMoE(
            groups,
            TWO,
            expert_mlp=EXPERTS,
            gate_mlp=None,
            num_expert=3,
            **parts.ALONE,
            gate_temperature=1.0,
            gate_dropout=0.0,
            gate_entropy_weight=0.0,
            gate_balance_weight=0.0,
        ).double()
    assert model.groups == {read: ["a"]}
    inputs = {name: parts.normal(5, width, seed=width) for name, width in widths.items()}
    assert_close(list(model(inputs).hidden), oracles.mmoe_by_loops(model, inputs[read]))
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == (len(widths) > 1)
    for line in warned:
        assert repr(read) in line
        assert all(name in line for name in widths)


def test_all_its_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        MMoE(
            ALL,
            TWO,
            expert_mlp=EXPERTS | {"hidden_units": []},
            gate_mlp=EXPERTS | {"activation": "tanh"},
            num_expert=0,
            **parts.ALONE,
            gate_temperature=1.0,
            gate_dropout=0.0,
            gate_entropy_weight=0.0,
            gate_balance_weight=0.0,
        )
    paths = [fault.path for fault in error.value.faults]
    assert paths == ["num_expert", "expert_mlp.hidden_units", "gate_mlp.activation"]
    with pytest.raises(ConfigError) as error:
        MMoE(
            ALL,
            TWO,
            expert_mlp=None,
            gate_mlp=None,
            num_expert=3,
            **parts.ALONE,
            gate_temperature=1.0,
            gate_dropout=0.0,
            gate_entropy_weight=0.0,
            gate_balance_weight=0.0,
        )
    assert [fault.path for fault in error.value.faults] == ["expert_mlp"]


@pytest.mark.parametrize("norm", [{}, {"use_bn": True}, {"use_ln": True}])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_within_rounding_for_every_activation(
    norm: dict[str, bool], dtype: torch.dtype
) -> None:
    """bfloat16 keeps 8 bits: 3 % of the largest output is a handful of roundings."""
    for activation in oracles.ACTIVATIONS:
        model = made(3, 2, "linear", activation=activation, **norm).float()
        x = parts.normal(16, 6, dtype=torch.float32)
        with torch.autocast("cpu", dtype):
            low = torch.stack(mixed(model, x)).float()
        wanted = torch.stack(oracles.mmoe_by_loops(model, x, activation)).float()
        assert (low - wanted).abs().max() < 0.03 * wanted.abs().max(), activation


SOFT = {
    "expert_mlp": EXPERTS,
    "gate_mlp": None,
    "num_members": 1,
    "l2_regularization": 0.0,
    "gate_temperature": 1.0,
    "gate_dropout": 0.0,
    "gate_entropy_weight": 0.0,
    "gate_balance_weight": 0.0,
}


def test_the_gates_have_the_temperature_and_the_dropout_of_the_model() -> None:
    model = MMoE(ALL, TWO, num_expert=3, **SOFT | {"gate_temperature": 2.0, "gate_dropout": 0.5})
    model, x = parts.shaken(model), parts.normal(5, 6)
    first, second = mixed(model, x), mixed(model, x)
    assert (first[0] != second[0]).any()
    found = mixed(model.eval(), x)
    with torch.no_grad():
        for parameter in model.gates.final.parameters():
            parameter.div_(2)
    assert_close(found, oracles.mmoe_by_loops(model, x))


@pytest.mark.parametrize(
    ("field", "value", "num_expert"),
    [
        *(("gate_temperature", value, 3) for value in (0.0, -1.0, math.inf, math.nan)),
        *(("gate_dropout", value, 3) for value in (-0.1, 1.0, math.nan)),
        ("gate_dropout", 0.5, 1),
        *(("gate_entropy_weight", value, 3) for value in (math.inf, math.nan)),
        *(("gate_balance_weight", value, 3) for value in (-0.1, math.inf, math.nan)),
        ("gate_entropy_weight", 0.5, 1),
        ("gate_balance_weight", 0.5, 1),
    ],
)
def test_bad_settings_of_gates_are_named_with_their_value(
    field: str, value: float, num_expert: int
) -> None:
    with fails(ConfigError, f"{field}: is {value:g}"):
        MMoE(ALL, TWO, num_expert=num_expert, **SOFT | {field: value})
