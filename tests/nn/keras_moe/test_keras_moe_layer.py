"""The layer of seed 003, S3.30 to S3.51: each argument against its formula in float64."""

import inspect
import warnings

import keras_oracles
import numpy as np
import parts
import pytest
import torch
from messages import fails
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn import MMoE

# As the seed's code has them, in its order.
SIGNATURE = {
    "units": inspect.Parameter.empty,
    "num_experts": inspect.Parameter.empty,
    "num_tasks": inspect.Parameter.empty,
    "use_expert_bias": True,
    "use_gate_bias": True,
    "expert_activation": "relu",
    "gate_activation": "softmax",
    "expert_bias_initializer": "zeros",
    "gate_bias_initializer": "zeros",
    "expert_bias_regularizer": None,
    "gate_bias_regularizer": None,
    "expert_bias_constraint": None,
    "gate_bias_constraint": None,
    "expert_kernel_initializer": "VarianceScaling",
    "gate_kernel_initializer": "VarianceScaling",
    "expert_kernel_regularizer": None,
    "gate_kernel_regularizer": None,
    "expert_kernel_constraint": None,
    "gate_kernel_constraint": None,
    "activity_regularizer": None,
}


def layer(*sizes: int, shaken: bool = True, **arguments: object) -> MMoE:
    """Of (units, experts, tasks) for 5 columns, in float64, with biases that are not 0."""
    torch.manual_seed(0)
    made = MMoE(*(sizes or (4, 3, 2)), in_features=5, dtype="float64", **arguments)
    return parts.shaken(made) if shaken else made


def check(made: MMoE, x: Tensor, *functions: str) -> None:
    found, wanted = made(x), keras_oracles.mixtures(made, x, *functions)
    assert len(found) == len(wanted) == made.num_tasks
    for own, expected in zip(found, wanted, strict=True):
        assert_close(own, torch.from_numpy(expected))


def of_kind(made: MMoE, kind: str) -> list:
    return list(made.expert_layers if kind == "expert" else made.gate_layers)


def test_s3_30_to_s3_49_the_signature_is_the_seeds() -> None:
    parameters = list(inspect.signature(MMoE).parameters.values())
    seed = [p for p in parameters if p.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert [(p.name, p.default) for p in seed] == list(SIGNATURE.items())


@pytest.mark.parametrize("units", [1, 4, 7])
@pytest.mark.parametrize("num_experts", [1, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 5])
@pytest.mark.parametrize("rows", [0, 1, 6])
def test_s3_51_outputs_are_the_seeds_sums_over_experts(
    units: int, num_experts: int, num_tasks: int, rows: int
) -> None:
    made = layer(units, num_experts, num_tasks)
    found = made(parts.normal(rows, 5))
    assert isinstance(found, list)
    assert [tuple(output.shape) for output in found] == [(rows, units)] * num_tasks
    check(made, parts.normal(rows, 5))


def test_s3_58_the_seeds_layer_of_4_units_8_experts_and_2_tasks() -> None:
    check(layer(4, 8, 2), 10 * parts.normal(9, 5))


def test_s3_17_parameters_are_those_of_one_dense_per_expert_and_per_gate() -> None:
    """E (D + 1) U of the experts, T (D + 1) E of the gates."""
    made = layer(4, 8, 3)
    assert sum(p.numel() for p in made.parameters()) == 8 * 6 * 4 + 3 * 6 * 8


@pytest.mark.parametrize("kind", ["expert", "gate"])
def test_s3_33_and_s3_34_a_kind_of_biases_can_be_left_out(kind: str) -> None:
    made = layer(**{f"use_{kind}_bias": False})
    assert all(dense.bias is None for dense in of_kind(made, kind))
    other = of_kind(made, "gate" if kind == "expert" else "expert")
    assert all(dense.bias is not None and dense.bias.any() for dense in other)
    check(made, parts.normal(6, 5))


@pytest.mark.parametrize("name", [*keras_oracles.FUNCTIONS, "softmax"])
def test_s3_35_experts_have_the_activation_that_is_named(name: str) -> None:
    check(layer(expert_activation=name), parts.normal(6, 5), name)


@pytest.mark.parametrize("name", [*keras_oracles.FUNCTIONS, "softmax"])
def test_s3_36_gates_have_the_activation_that_is_named(name: str) -> None:
    check(layer(gate_activation=name), parts.normal(6, 5), "relu", name)


@pytest.mark.parametrize("argument", ["expert_activation", "gate_activation"])
def test_s3_35_and_s3_36_none_is_linear(argument: str) -> None:
    names = {"expert_activation": "relu", "gate_activation": "softmax"} | {argument: "linear"}
    check(layer(**{argument: None}), parts.normal(6, 5), *names.values())


def by_largest(x: Tensor) -> Tensor:
    """Depends on all rows of one layer, so that another layer's numbers would show."""
    return x / x.abs().amax()


@pytest.mark.parametrize("kind", ["expert", "gate"])
def test_s3_35_and_s3_36_a_function_of_ones_own_sees_one_layer_at_a_time(kind: str) -> None:
    made = layer(expert_activation=None, gate_activation=None)
    x = parts.normal(6, 5)
    for dense in of_kind(made, kind):
        largest = np.abs([keras_oracles.dense(dense, row) for row in x.numpy()]).max()
        with torch.no_grad():
            dense.kernel.div_(largest)
            dense.bias.div_(largest)
    wanted = made(x)
    other = layer(
        **{"expert_activation": None, "gate_activation": None} | {f"{kind}_activation": by_largest}
    )
    for own, expected in zip(other(x), wanted, strict=True):
        assert_close(own, expected)


def test_s3_37_to_s3_44_each_kind_of_weight_starts_as_its_initializer_says() -> None:
    kinds = ("expert_kernel", "expert_bias", "gate_kernel", "gate_bias")
    values = {kind: float(number) for number, kind in enumerate(kinds, start=2)}
    settings = {
        f"{kind}_initializer": {"class_name": "Constant", "config": {"value": value}}
        for kind, value in values.items()
    }
    made = layer(shaken=False, **settings)
    for kind, value in values.items():
        which, weight = kind.split("_")
        for dense in of_kind(made, which):
            assert (getattr(dense, weight) == value).all()


def test_s3_37_to_s3_44_biases_start_at_0_and_kernels_with_the_spread_of_their_inputs() -> None:
    """1 / sqrt(D), cut at two standard deviations of what is cut: 2 / 0.8796 / sqrt(D)."""
    torch.manual_seed(0)
    made = MMoE(50, 8, 3, in_features=400, dtype="float64")
    for kind in ("expert", "gate"):
        kernels = torch.stack([dense.kernel.detach() for dense in of_kind(made, kind)])
        assert not any(dense.bias.any() for dense in of_kind(made, kind))
        spread = kernels.square().mean().sqrt().item()
        assert spread == pytest.approx(1 / 20, rel=4 / np.sqrt(2 * kernels.numel()))
        assert 0.95 * 2 / 20 / 0.8796 < kernels.abs().max() <= 2 / 20 / 0.8796


@pytest.mark.parametrize("start", ["VarianceScaling", "seeded"])
def test_s3_16_experts_and_gates_start_apart_from_each_other(start: object) -> None:
    """Keras 3 calls one initializer for all experts, and it gives all of them the same values."""
    if start == "seeded":
        start = {"class_name": "VarianceScaling", "config": {"seed": 7}}
    made = layer(shaken=False, expert_kernel_initializer=start, gate_kernel_initializer=start)
    for kind in ("expert", "gate"):
        first, *others = of_kind(made, kind)
        assert all((first.kernel != other.kernel).any() for other in others)


def test_s3_16_a_gradient_of_one_task_reaches_all_experts_and_its_own_gate_alone() -> None:
    made = layer(4, 3, 2, expert_activation="linear")
    made(parts.normal(6, 5))[0].sum().backward()
    assert all(dense.kernel.grad.abs().sum() > 0 for dense in made.expert_layers)
    own, other = made.gate_layers
    assert own.kernel.grad.abs().sum() > 0
    assert other.kernel.grad is None or not other.kernel.grad.any()


def l2(weight: Tensor) -> float:
    return 0.01 * sum(value**2 for value in keras_oracles.numbers(weight).flatten())


@pytest.mark.parametrize("kind", ["expert_kernel", "expert_bias", "gate_kernel", "gate_bias"])
def test_s3_39_to_s3_46_a_regularizer_gives_a_penalty_for_each_weight_of_its_kind(
    kind: str,
) -> None:
    made = layer(**{f"{kind}_regularizer": "l2"})
    made(parts.normal(3, 5))
    which, weight = kind.split("_")
    wanted = [l2(getattr(dense, weight)) for dense in of_kind(made, which)]
    assert [loss.item() for loss in made.losses] == pytest.approx(wanted)
    assert min(wanted) > 0


def test_s3_39_to_s3_49_penalties_come_in_the_order_of_keras() -> None:
    """Outputs first, then the experts' weights, then the gates', a kernel before its bias."""
    settings = {
        f"{kind}_regularizer": "l2"
        for kind in ("expert_kernel", "expert_bias", "gate_kernel", "gate_bias", "activity")
    }
    made = layer(4, 3, 2, **settings)
    outputs = made(parts.normal(7, 5))
    weights = [w for d in (*made.expert_layers, *made.gate_layers) for w in (d.kernel, d.bias)]
    wanted = [l2(output) / 7 for output in outputs] + [l2(weight) for weight in weights]
    assert [loss.item() for loss in made.losses] == pytest.approx(wanted)
    assert len(set(wanted)) == 12


@pytest.mark.parametrize("rows", [1, 5])
def test_s3_49_the_penalty_of_an_output_is_divided_by_its_rows(rows: int) -> None:
    made = layer(activity_regularizer="l1")
    outputs = made(parts.normal(rows, 5))
    wanted = [0.01 * np.abs(keras_oracles.numbers(output)).sum() / rows for output in outputs]
    assert [loss.item() for loss in made.losses] == pytest.approx(wanted)


def test_s3_49_the_penalty_of_no_rows_is_0() -> None:
    made = layer(activity_regularizer=lambda output: output.mean())
    made(parts.normal(0, 5))
    assert [loss.item() for loss in made.losses] == [0, 0]


def test_s3_49_penalties_are_those_of_the_last_call() -> None:
    made = layer(activity_regularizer="l2")
    made(parts.normal(3, 5))
    outputs = made(parts.normal(4, 5, seed=1))
    assert [loss.item() for loss in made.losses] == pytest.approx([l2(y) / 4 for y in outputs])


def test_penalties_have_the_gradients_of_their_formulas() -> None:
    """Of 0.01 w^2, 0.02 w."""
    made = layer(expert_kernel_regularizer="l2", gate_bias_regularizer="l2")
    sum(made.losses).backward()
    for dense in made.expert_layers:
        assert_close(dense.kernel.grad, 0.02 * dense.kernel.detach())
        assert dense.bias.grad is None
    for dense in made.gate_layers:
        assert_close(dense.bias.grad, 0.02 * dense.bias.detach())
        assert dense.kernel.grad is None


def test_without_regularizers_there_are_no_penalties() -> None:
    made = layer()
    made(parts.normal(3, 5))
    assert made.losses == []


@pytest.mark.parametrize("kind", ["expert_kernel", "expert_bias", "gate_kernel", "gate_bias"])
def test_s3_41_to_s3_48_constrain_applies_a_constraint_to_its_kind_of_weight_alone(
    kind: str,
) -> None:
    made = layer(**{f"{kind}_constraint": "non_neg"})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.sub_(0.2)  # some of each kind are negative
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.constrain_()
    which, weight = kind.split("_")
    for name, value in made.state_dict().items():
        if name.startswith(f"{which}_layers") and name.endswith(weight):
            assert_close(value, before[name].clamp(min=0))
            assert (before[name] < 0).any()
        else:
            assert torch.equal(value, before[name])


@pytest.mark.parametrize("axis", [0, 1])
def test_s3_47_the_axis_of_a_norm_is_that_of_kerass_kernel(axis: int) -> None:
    """(inputs, outputs), so that axis 0 bounds what leads into a unit."""
    bound = {"class_name": "MaxNorm", "config": {"max_value": 0.1, "axis": axis}}
    made = layer(expert_kernel_constraint=bound)
    made.constrain_()
    for dense in made.expert_layers:
        kernel = keras_oracles.numbers(dense.kernel)
        assert kernel.shape == (5, 4)
        assert np.sqrt((kernel**2).sum(axis=axis)) == pytest.approx(0.1, rel=1e-5)


def test_steps_with_constraints_keep_them_and_initial_values_are_left_alone() -> None:
    made = layer(expert_kernel_constraint="unit_norm", shaken=False)
    first = layer(shaken=False).expert_layers[0].kernel
    assert torch.equal(made.expert_layers[0].kernel, first)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        sum(output.square().sum() for output in made(parts.normal(6, 5, seed=step))).backward()
        optimizer.step()
        made.constrain_()
        for dense in made.expert_layers:
            norms = dense.kernel.square().sum(dim=0).sqrt()
            assert_close(norms, torch.ones_like(norms), atol=1e-6, rtol=0)


def test_s3_50_name_trainable_and_dtype_are_keywords() -> None:
    made = MMoE(4, 3, 2, in_features=5, name="bottom", trainable=False, dtype="float64")
    assert "bottom" in repr(made)
    assert {p.dtype for p in made.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in made.parameters())


def test_s3_50_frozen_weights_have_no_penalty_and_no_constraint() -> None:
    """As Keras, whose penalties and constraints are those of what is trained."""
    made = layer(
        expert_kernel_regularizer="l2", expert_kernel_constraint="non_neg", trainable=False
    )
    before = made.expert_layers[0].kernel.clone()
    made.constrain_()
    assert made.losses == []
    assert torch.equal(made.expert_layers[0].kernel, before)
    made.trainable = True
    assert len(made.losses) == 3
    assert all(p.requires_grad for p in made.parameters())


@pytest.mark.parametrize(
    ("word", "remedy"),
    [("expert_activaton", "expert_activation"), ("input_shape", "in_features"), ("foo", "foo")],
)
def test_s3_50_other_keywords_are_refused_by_name(word: str, remedy: str) -> None:
    with fails(ConfigError, word, remedy):
        MMoE(4, 3, 2, **{word: 1})


@pytest.mark.parametrize("field", ["units", "num_experts", "num_tasks", "in_features"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True])
def test_s3_30_to_s3_32_sizes_are_whole_numbers_above_0(field: str, value: object) -> None:
    sizes = {"units": 4, "num_experts": 3, "num_tasks": 2}
    with fails(ConfigError, field, repr(value)):
        MMoE(**sizes | {field: value})


def test_all_faults_are_told_at_once() -> None:
    with fails(ConfigError, "units", "'l3'", "'rleu'; ", "relu", "use_gate_bias", "'float'"):
        MMoE(0, 3, 2, True, "no", "rleu", expert_bias_regularizer="l3", dtype="float")


def test_settings_of_a_bias_that_does_not_exist_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"gate_bias_regularizer.*use_gate_bias"):
        MMoE(4, 3, 2, use_gate_bias=False, gate_bias_regularizer="l2")
    with pytest.warns(UserWarning, match=r"expert_bias_initializer.*use_expert_bias"):
        MMoE(4, 3, 2, False, expert_bias_initializer=np.ones(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MMoE(4, 3, 2, use_gate_bias=False, use_expert_bias=False)
