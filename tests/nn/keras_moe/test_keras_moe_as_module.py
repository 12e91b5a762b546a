"""The layer as a module of torch: before its first call, saved, copied, exported, on bad input."""

import copy
import io
import subprocess
import sys

import keras_oracles
import layer_laws
import numpy as np
import parts
import pytest
import torch
from messages import fails
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.errors import ConfigError, DataError
from tzmmoe.nn import MMoE
from tzmmoe.nn.keras_moe.activations import FUNCTIONS

RULES = {
    "expert_kernel_regularizer": "l2",
    "expert_kernel_constraint": "max_norm",
    "activity_regularizer": "l2",
}


class Beside(nn.Module):
    def forward(self, outputs: list[Tensor]) -> Tensor:
        return torch.cat(outputs, dim=1)


def same(found: list[Tensor], wanted: list[Tensor]) -> None:
    for own, expected in zip(found, wanted, strict=True):
        assert_close(own, expected)


def test_the_package_is_imported_without_torch_until_the_layer_is_asked_for() -> None:
    code = "import sys, tzmmoe.nn; assert 'torch' not in sys.modules; from tzmmoe.nn import MMoE"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("functions", [("relu", "softmax"), ("sparsemax", "sigmoid")])
def test_the_laws_of_every_layer_hold(biases: bool, functions: tuple[str, str]) -> None:
    """Rows do not see each other, also one or none; the graph is exported for any number."""
    made = MMoE(4, 3, 2, biases, biases, *functions, in_features=5, **RULES)
    layer_laws.check_laws(parts.shaken(made), parts.normal(6, 5))


@pytest.mark.parametrize("strict", [True, False])
def test_an_export_gives_the_outputs_without_penalties(strict: bool) -> None:
    made, x = MMoE(4, 3, 2, **RULES), torch.randn(6, 5)
    wanted, before = made(x), [loss.item() for loss in made.losses]
    rows = torch.export.Dim("rows")
    program = torch.export.export(made, (x[:3],), dynamic_shapes=({0: rows},), strict=strict)
    same(program.module()(x), wanted)
    assert [loss.item() for loss in made.losses] == before


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_differences(name: str) -> None:
    made = parts.shaken(MMoE(2, 2, 2, expert_activation=name, in_features=3, dtype="float64"))
    x = parts.normal(4, 3, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: made(x), x)


def test_the_width_is_that_of_the_first_call() -> None:
    made = MMoE(4, 3, 2)
    assert made.in_features is None
    assert made.losses == []
    made.constrain_()
    made(torch.randn(6, 5))
    assert made.in_features == 5
    assert made.expert_layers[2].kernel.shape == (5, 4)
    assert made.gate_layers[1].kernel.shape == (5, 3)


def test_the_first_call_starts_the_weights_as_in_features_does() -> None:
    torch.manual_seed(0)
    lazy = MMoE(4, 3, 2)
    lazy(torch.zeros(1, 5))
    torch.manual_seed(0)
    eager = MMoE(4, 3, 2, in_features=5)
    for name, value in eager.state_dict().items():
        assert torch.equal(lazy.state_dict()[name], value)


def test_an_optimizer_made_before_the_first_call_trains_the_weights() -> None:
    made = MMoE(4, 3, 2)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    made(torch.randn(6, 5))
    before = copy.deepcopy(made.state_dict())
    sum(output.sum() for output in made(torch.randn(6, 5))).backward()
    optimizer.step()
    changed = [name for name, value in made.state_dict().items() if (value != before[name]).any()]
    assert {name.split(".")[0] for name in changed} == {"expert_layers", "gate_layers"}


def test_what_is_set_before_the_first_call_is_kept() -> None:
    made = MMoE(4, 3, 2).double()
    made.trainable = False
    assert made(torch.randn(6, 5))[0].dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_weights_that_start_in_inference_mode_can_be_trained_afterwards() -> None:
    made = MMoE(4, 3, 2)
    with torch.inference_mode():
        made(torch.randn(6, 5))
    made(torch.randn(6, 5))[0].sum().backward()
    assert made.expert_layers[0].kernel.grad is not None


def test_a_first_call_that_fails_changes_nothing() -> None:
    made = MMoE(4, 3, 2, gate_bias_initializer="orthogonal")
    for _ in range(2):
        with fails(ConfigError, "gate_bias_initializer", "Orthogonal", "(3,)"):
            made(torch.randn(6, 5))
    assert made.in_features is None


def test_names_of_the_state_are_those_of_the_seeds_layers() -> None:
    made = MMoE(4, 2, 1, use_gate_bias=False, in_features=5)
    assert list(made.state_dict()) == [
        "expert_layers.0.kernel",
        "expert_layers.0.bias",
        "expert_layers.1.kernel",
        "expert_layers.1.bias",
        "gate_layers.0.kernel",
    ]


@pytest.mark.parametrize("in_features", [5, None])
def test_a_state_is_loaded_before_the_first_call_too(in_features: int | None) -> None:
    made, x = MMoE(4, 3, 2, in_features=5), torch.randn(6, 5)
    file = io.BytesIO()
    torch.save(made.state_dict(), file)
    file.seek(0)
    other = nn.ModuleDict({"bottom": MMoE(4, 3, 2, in_features=in_features)})
    state = {f"bottom.{name}": value for name, value in torch.load(file).items()}
    other.load_state_dict(state)
    assert other["bottom"].in_features == 5
    same(other["bottom"](x), made(x))


def test_a_state_of_other_sizes_is_refused() -> None:
    state = MMoE(4, 3, 2, in_features=5).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        MMoE(3, 3, 2).load_state_dict(state)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        MMoE(4, 2, 2).load_state_dict(state)


@pytest.mark.parametrize("called", [True, False])
def test_the_whole_layer_can_be_copied_and_saved(called: bool) -> None:
    """Also after a call, whose penalties hang on a graph."""
    torch.manual_seed(0)
    made = MMoE(4, 3, 2, **RULES, gate_kernel_initializer={"class_name": "HeNormal"})
    x = torch.randn(6, 5)
    if called:
        made(x)
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    for other in (copy.deepcopy(made), torch.load(file, weights_only=False)):
        torch.manual_seed(1)
        found = other(x)
        torch.manual_seed(1)
        same(found, made(x))
        assert len(other.losses) == len(made.losses) == 5
        sum(other.losses).backward()


def test_weights_of_an_activation_are_part_of_the_layer() -> None:
    made = MMoE(4, 3, 2, expert_activation=nn.PReLU(), in_features=5)
    assert "expert_activation.weight" in made.state_dict()
    made.expert_layers[0].bias.data.fill_(-100)
    made(torch.randn(6, 5))[0].sum().backward()
    assert made.expert_activation.weight.grad.item() != 0
    assert not MMoE(4, 3, 2, expert_activation=nn.PReLU(), trainable=False).trainable


def test_s3_29_layers_can_be_stacked() -> None:
    """The second reads the outputs of the first, side by side."""
    first, second = MMoE(4, 3, 2, dtype="float64"), MMoE(2, 3, 2, dtype="float64")
    x = parts.normal(6, 5)
    found = nn.Sequential(first, Beside(), second)(x)
    between = np.concatenate(keras_oracles.mixtures(first, x), axis=1)
    wanted = keras_oracles.mixtures(second, torch.from_numpy(between))
    same(found, [torch.from_numpy(own) for own in wanted])
    assert second.in_features == 8


@pytest.mark.parametrize("dtype", ["float64", "float32", torch.float32, "bfloat16", "float16"])
def test_outputs_have_the_dtype_whatever_the_inputs(dtype: object) -> None:
    made = MMoE(4, 3, 2, dtype=dtype)
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    for x in (torch.ones(2, 5), torch.ones(2, 5).double(), torch.ones(2, 5).long()):
        assert made(x)[0].dtype == wanted


def test_without_a_dtype_weights_have_torchs_default() -> None:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        made = MMoE(4, 3, 2, in_features=5)
    finally:
        torch.set_default_dtype(before)
    assert {parameter.dtype for parameter in made.parameters()} == {torch.float64}


def test_autocast_computes_in_its_dtype() -> None:
    made, x = MMoE(4, 3, 2), torch.randn(6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(x)
    assert found[0].dtype == torch.bfloat16
    for own, expected in zip(found, made(x), strict=True):
        assert_close(own.float(), expected, atol=0.05, rtol=0.05)


def test_a_policy_of_keras_is_refused_with_what_torch_has_for_it() -> None:
    with fails(ConfigError, "dtype", "mixed_bfloat16", "autocast"):
        MMoE(4, 3, 2, dtype="mixed_bfloat16")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.zeros(6, 4), ["4 columns", "5"]),
        (torch.zeros(6, 2, 5), ["(6, 2, 5)", "(rows, columns)"]),
        (torch.zeros(5), ["(5,)"]),
        (torch.zeros(6, 0), ["(6, 0)"]),
        (torch.zeros(6, 5, dtype=torch.complex64), ["complex64", "real"]),
        ([[0.0] * 5], ["list", "as_tensor"]),
        (torch.zeros(6, 5).numpy(), ["ndarray", "as_tensor"]),
    ],
)
@pytest.mark.parametrize("name", [None, "bottom"])
def test_s3_20_inputs_that_do_not_fit_are_refused(
    inputs: object, words: list[str], name: str | None
) -> None:
    """The seed's product of experts and gates has no meaning for three axes."""
    made = MMoE(4, 3, 2, in_features=5, name=name)
    with fails(DataError, name or "mmoe", *words):
        made(inputs)


@pytest.mark.parametrize("argument", ["expert_activation", "gate_activation"])
def test_s3_20_an_activation_that_changes_the_shape_is_refused(argument: str) -> None:
    made = MMoE(4, 4, 2, **{argument: nn.GLU()})
    with fails(ConfigError, f"mmoe.{argument}", "(6, 2)", "(6, 4)"):
        made(torch.randn(6, 5))


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("gate_bias_initializer", "orthogonal", ["Orthogonal", "(3,)"]),
        ("expert_kernel_initializer", torch.zeros(4, 5), ["(4, 5)", "(5, 4)"]),
        ("expert_kernel_initializer", lambda shape, dtype: torch.zeros(1), ["(1,)", "(5, 4)"]),
        ("expert_bias_regularizer", "orthogonal_regularizer", ["(4,)"]),
        ("expert_kernel_regularizer", torch.abs, ["(5, 4)", "()"]),
        ("gate_kernel_constraint", torch.sum, ["()", "(5, 3)"]),
        (
            "gate_bias_constraint",
            {"class_name": "UnitNorm", "config": {"axis": 1}},
            ["config.axis", "(3,)"],
        ),
    ],
)
@pytest.mark.parametrize("in_features", [5, None])
def test_what_does_not_suit_the_shape_of_a_weight_is_refused_by_the_arguments_name(
    argument: str, value: object, words: list[str], in_features: int | None
) -> None:
    with fails(ConfigError, argument, *words):
        MMoE(4, 3, 2, in_features=in_features, **{argument: value})(torch.randn(6, 5))
