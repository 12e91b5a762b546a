"""Activations by name: which there are, what they take, and what Dice and PReLU compute."""

import math
from collections.abc import Callable

import parts
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.activations import (
    KERAS,
    OF_LOGITS,
    TORCH,
    Dice,
    PReLU,
    activation,
    keras_activation,
    output_activation,
)

POINTS = [-200.0, -3.0, -0.5, 0.0, 0.5, 3.0, 200.0]

# By formula, at one number.
FORMULAS = {
    "nn.ReLU": lambda x: max(x, 0.0),
    "nn.LeakyReLU": lambda x: x if x > 0 else 0.01 * x,
    "nn.LeakyReLU(negative_slope=0.25)": lambda x: x if x > 0 else 0.25 * x,
    "nn.GELU": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "nn.GELU(approximate=tanh)": lambda x: (
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "nn.SiLU": lambda x: x / (1 + math.exp(-x)),
    "nn.ELU": lambda x: x if x > 0 else math.expm1(x),
    "nn.ELU(alpha=2)": lambda x: x if x > 0 else 2 * math.expm1(x),
    "nn.SELU": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "nn.Sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "nn.Tanh": math.tanh,
    "nn.PReLU": lambda x: x if x > 0 else 0.25 * x,
    "nn.PReLU(init=0.5)": lambda x: x if x > 0 else 0.5 * x,
}


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("spelled", ["{}", "torch.{}", " {} "])
def test_an_activation_computes_its_formula_at_extremes_too(text: str, spelled: str) -> None:
    layer = activation(spelled.format(text), channels=1, copies=1).double()
    x = torch.tensor(POINTS, dtype=torch.float64).unsqueeze(1)
    wanted = torch.tensor([FORMULAS[text](point) for point in POINTS], dtype=torch.float64)
    assert_close(layer(x).squeeze(1), wanted)


def test_every_known_activation_has_its_formula_above() -> None:
    assert {name.partition("(")[0].removeprefix("nn.") for name in FORMULAS} == set(TORCH)


def test_the_name_may_leave_out_nn_and_have_empty_brackets() -> None:
    for text in ("ReLU", "nn.ReLU()", "torch.nn.ReLU"):
        assert isinstance(activation(text, 4, 2), nn.ReLU)


def test_no_text_is_no_activation() -> None:
    assert activation("", 4, 2) is None


def test_dice_is_half_of_its_input_at_the_start_and_its_input_where_alpha_is_one() -> None:
    """Without statistics of its own, p is the sigmoid of the input; alpha starts at 0."""
    dice = activation("Dice", channels=3, copies=1).double().eval()
    x = parts.normal(5, 3)
    assert_close(dice(torch.zeros_like(x)), torch.zeros_like(x))
    scale = (1 + dice.norm.eps) ** -0.5
    assert_close(dice(x), x / (1 + torch.exp(-scale * x)))
    nn.init.ones_(dice.alpha)
    assert_close(dice(x), x)


def test_dice_in_training_is_the_formula_of_its_paper() -> None:
    """E[s] and Var[s] over the batch, for each channel."""
    dice = parts.shaken(activation("Dice", channels=3, copies=1))
    x = 5 + 2 * parts.normal(50, 3)
    wanted = torch.empty_like(x)
    for channel in range(3):
        s = x[:, channel]
        mean, variance = s.mean(), ((s - s.mean()) ** 2).mean()
        p = 1 / (1 + torch.exp(-(s - mean) / torch.sqrt(variance + 1e-5)))
        wanted[:, channel] = p * s + (1 - p) * dice.alpha[channel] * s
    assert_close(dice(x), wanted)


def test_prelu_learns_one_slope_for_each_network() -> None:
    """As one nn.PReLU() in each; the slope's gradient is the sum of its negative inputs."""
    layer = activation("nn.PReLU", channels=6, copies=2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.1, 0.7]))
    x = parts.normal(8, 6)
    y = layer(x)
    assert_close(y, torch.where(x > 0, x, x * torch.tensor([0.1] * 3 + [0.7] * 3)))
    y.sum().backward()
    negative = x.clamp(max=0).sum(dim=0)
    assert_close(layer.weight.grad, torch.stack([negative[:3].sum(), negative[3:].sum()]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nn.Relu", "did you mean 'ReLU'"),
        ("nn.Softmax", "unknown activation 'nn.Softmax'"),
        ("nn.Linear(in_features=3)", "unknown activation"),
        ("nn.ReLU(inplace=True)", "no argument 'inplace'"),
        ("nn.PReLU(num_parameters=4)", "no argument 'num_parameters'"),
        ("nn.LeakyReLU(0.1)", "write nn.Name(argument=value"),
        ("nn.LeakyReLU(negative_slope=)", "write nn.Name(argument=value"),
        ("nn.LeakyReLU(negative_slope=0.1", "write nn.Name(argument=value"),
        ("nn.LeakyReLU(negative_slope=tanh)", "negative_slope"),
        ("nn.LeakyReLU(negative_slope=True)", "negative_slope"),
        ("nn.GELU(approximate=1)", "approximate"),
        ("nn.GELU(approximate=tan)", "approximate"),
        ("nn.PReLU(init=a)", "init"),
        ("Dice(3)", "write nn.Name(argument=value"),
        ("Dice(alpha=3)", "no argument 'alpha'"),
        ("lambda: 0", "unknown activation"),
        ("nn.ReLU; nn.ReLU", "write nn.Name(argument=value"),
    ],
)
def test_a_bad_activation_is_refused_before_any_step_with_what_to_write(
    text: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        activation(text, 4, 2)
    [fault] = error.value.faults
    assert fault.path == "activation"
    assert repr(text) in fault.text
    assert said in fault.text


# By Keras's documents: leaky_relu falls by 0.2, gelu is the exact one.
KERAS_FORMULAS = {
    "relu": FORMULAS["nn.ReLU"],
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "lrelu": lambda x: x if x > 0 else 0.2 * x,
    "selu": FORMULAS["nn.SELU"],
    "sigmoid": FORMULAS["nn.Sigmoid"],
    "tanh": FORMULAS["nn.Tanh"],
    "gelu": FORMULAS["nn.GELU"],
    "swish": FORMULAS["nn.SiLU"],
    "elu": FORMULAS["nn.ELU"],
    "none": lambda x: x,
    "linear": lambda x: x,
    "": lambda x: x,
}


@pytest.mark.parametrize("name", KERAS_FORMULAS)
@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
def test_a_name_of_keras_in_any_case_computes_its_formula(name: str, spelled: Callable) -> None:
    """Of a layer, and of the logits of a tower."""
    x = torch.tensor(POINTS, dtype=torch.float64)
    wanted = torch.tensor([KERAS_FORMULAS[name](point) for point in POINTS], dtype=torch.float64)
    layer = activation(keras_activation(spelled(name)), channels=1, copies=1)
    assert_close(layer(x) if layer else x, wanted)
    layer = output_activation(spelled(name))
    assert_close(layer(x) if layer else x, wanted)
    assert (layer is None) == (name in ("none", "linear", ""))


def test_every_name_of_keras_has_its_formula_but_those_that_learn() -> None:
    assert set(KERAS) - set(KERAS_FORMULAS) == {"dice", "prelu"}
    assert isinstance(activation(keras_activation("Dice"), 4, 1), Dice)
    assert isinstance(activation(keras_activation("PReLU"), 4, 2), PReLU)


def test_logits_have_softmax_too_and_nothing_that_learns() -> None:
    assert set(OF_LOGITS) == (set(KERAS) | {"softmax"}) - {"dice", "prelu"}
    logits = parts.normal(5, 3)
    powers = logits.exp()
    assert_close(output_activation("Softmax")(logits), powers / powers.sum(dim=1, keepdim=True))
    for name in OF_LOGITS:
        layer = output_activation(name)
        assert layer is None or not list(layer.parameters())


@pytest.mark.parametrize(
    ("chosen", "name", "said"),
    [
        (keras_activation, "rel", "is 'rel'; give one of relu, leaky_relu, "),
        (keras_activation, "Sigmod", "did you mean 'sigmoid'?"),
        (keras_activation, "nn.ReLU", "did you mean 'relu'?"),
        (keras_activation, "softmax", "is 'softmax'; give one of "),
        (output_activation, "softmx", "did you mean 'softmax'?"),
        (output_activation, "dice", "is 'dice'; give one of "),
        (output_activation, "prelu", "did you mean 'relu'?"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_those_that_are(
    chosen: Callable, name: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        chosen(name)
    [fault] = error.value.faults
    assert fault.path == ""
    assert said in fault.text
