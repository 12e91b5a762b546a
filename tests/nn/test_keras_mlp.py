"""EasyRec's MLP against its own numbers, and against its formula one unit at a time."""

import math

import easyrec_numbers
import layer_laws
import oracles
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_mlp import KerasMLP, KerasNetworks, easyrec_layer

MLP = parts.KERAS_MLP
FUNCTIONS = {
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "tf.nn.gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "prelu": lambda x: x if x > 0 else 0.2 * x,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    "tanh": math.tanh,
    "tf.math.tanh": math.tanh,
    "swish": lambda x: x / (1 + math.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tf.nn.relu": lambda x: max(x, 0.0),
    "linear": lambda x: x,
    "": lambda x: x,
}


def by_units(mlp: KerasMLP, x: Tensor, settings: dict) -> Tensor:
    """One row, layer and unit after the other, in evaluation mode."""
    rows = []
    for row in x:
        values = row.tolist()
        for index, layer in enumerate(mlp.network.layers):
            is_last = index == len(mlp.network.layers) - 1
            name = settings["final_activation" if is_last else "activation"]
            weight, found = layer.linear.weight[0], []
            for unit in range(len(weight)):
                y = sum(w * v for w, v in zip(weight[unit].tolist(), values, strict=True))
                if layer.linear.bias is not None:
                    y += layer.linear.bias[0, unit].item()
                if settings["use_bn_after_activation"]:
                    y = FUNCTIONS[name](y)
                if layer.norm is not None:
                    n = layer.norm
                    spread = math.sqrt(n.running_var[unit].item() + 0.001)
                    y = (y - n.running_mean[unit].item()) / spread
                    y = y * n.weight[unit].item() + n.bias[unit].item()
                if not settings["use_bn_after_activation"]:
                    y = FUNCTIONS[name](y)
                found.append(y)
            values = found
        rows.append(values)
    return torch.tensor(rows, dtype=torch.float64)


def test_the_output_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("mlp")
    mlp = easyrec_numbers.ready(KerasMLP(5, **MLP | {"hidden_units": [6, 3]}))
    recording.mlp(mlp.network, "")
    recording.check(mlp(recording.inputs[0]))


@pytest.mark.parametrize("final", FUNCTIONS)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("use_bn", "use_final_bn"), [(True, True), (True, False), (False, True)])
def test_each_layer_is_a_linear_map_a_norm_and_an_activation(
    final: str, last: bool, use_bn: bool, use_final_bn: bool
) -> None:
    settings = MLP | {
        "hidden_units": [4, 1, 3],
        "activation": "tanh",
        "final_activation": final,
        "use_bn": use_bn,
        "use_final_bn": use_final_bn,
        "use_bn_after_activation": last,
        "use_bias": True,
        "use_final_bias": True,
    }
    mlp = parts.shaken(KerasMLP(5, **settings)).eval()
    x = parts.normal(3, 5)
    assert_close(mlp(x), by_units(mlp, x, settings))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_bias_is_left_out_only_right_before_batch_norm(
    last: bool, norm: bool, bias: bool
) -> None:
    settings = {"use_bn": norm, "use_bias": bias, "use_bn_after_activation": last}
    layer = KerasMLP(5, **MLP | settings).network.layers[0]
    assert (layer.linear.bias is not None) == (bias and (last or not norm))


def test_several_networks_equal_each_one_apart() -> None:
    settings = MLP | {"hidden_units": [4, 3], "use_bn_after_activation": True, "use_bias": True}
    many = parts.shaken(KerasNetworks(5, copies=3, **settings)).eval()
    x = parts.normal(4, 5)
    for copy in range(3):
        one = KerasMLP(5, **settings).double().eval()
        state = {name.removeprefix("network."): value for name, value in one.state_dict().items()}
        for name, value in many.state_dict().items():
            if value.dim() == 0:
                continue
            state[name] = value[copy : copy + 1] if "linear" in name else value.chunk(3)[copy]
        one.network.load_state_dict(state)
        assert_close(many(x)[:, copy], one(x))


def test_places_of_a_sequence_are_rows() -> None:
    """Also in training: the norm is over rows and places."""
    mlp = parts.shaken(KerasMLP(5, **MLP))
    x = parts.normal(3, 4, 5)
    assert_close(mlp(x).flatten(0, 1), mlp(x.flatten(0, 1)))


@pytest.mark.parametrize(
    ("initializer", "bound"),
    [
        ("he_uniform", math.sqrt(6 / 300)),
        ("glorot_uniform", math.sqrt(6 / 500)),
        ("lecun_uniform", math.sqrt(3 / 300)),
        ("random_uniform", 0.05),
    ],
)
def test_kernels_start_uniform_within_their_bound_and_biases_at_0(
    initializer: str, bound: float
) -> None:
    torch.manual_seed(0)
    settings = MLP | {"initializer": initializer, "use_bn": False, "use_bias": True}
    layer = KerasMLP(300, **settings | {"hidden_units": [200, 1]}).network.layers[0]
    assert oracles.uniform_distance(layer.linear.weight, -bound, bound) < 1.95
    assert not layer.linear.bias.any()


@pytest.mark.parametrize(
    ("initializer", "spread", "cut"),
    [
        ("he_normal", math.sqrt(2 / 300), 2.27375),
        ("glorot_normal", math.sqrt(2 / 500), 2.27375),
        ("lecun_normal", math.sqrt(1 / 300), 2.27375),
        ("truncated_normal", 0.05 * 0.87962566, 2.27375),
        ("random_normal", 0.05, math.inf),
    ],
)
def test_kernels_start_normal_with_their_spread_and_cut_at_two_deviations(
    initializer: str, spread: float, cut: float
) -> None:
    """Cut at +-2 deviations, a normal distribution keeps 0.8796 of its deviation."""
    torch.manual_seed(0)
    settings = MLP | {"initializer": initializer, "hidden_units": [200]}
    kernel = KerasMLP(300, **settings).network.layers[0].linear.weight.detach().double()
    assert kernel.std().item() == pytest.approx(spread, rel=5 / math.sqrt(2 * 60_000))
    assert abs(kernel.mean().item()) < 5 * spread / math.sqrt(60_000)
    most = kernel.abs().max().item() / spread
    assert most < cut
    assert most > 2.2


def test_norms_have_kerass_epsilon_and_momentum_but_dice_its_own_epsilon() -> None:
    mlp = KerasMLP(5, **MLP | {"activation": "dice"})
    layer = mlp.network.layers[0]
    assert (layer.norm.eps, layer.activation.norm.eps) == (1e-3, 1e-9)
    assert layer.norm.momentum == layer.activation.norm.momentum == pytest.approx(0.01)
    assert easyrec_layer("activation", "Dice", 4).norm.eps == 1e-9


@pytest.mark.parametrize("rows", [1, 5])
def test_it_obeys_the_laws_of_layers(rows: int) -> None:
    mlp = parts.shaken(KerasMLP(5, **MLP | {"dropout_ratio": [0.5]}))
    layer_laws.check_laws(mlp, parts.normal(max(rows, 2), 5))
    layer_laws.check_rows(mlp, parts.normal(rows, 5))
    layer_laws.check_gradients(mlp, parts.normal(rows, 5))


def test_dropout_starts_at_the_first_layer_and_ends_with_its_list() -> None:
    mlp = KerasMLP(5, **MLP | {"hidden_units": [4, 3, 2], "dropout_ratio": [0.5, 0.25]})
    ratios = [layer.dropout.p if layer.dropout else 0 for layer in mlp.network.layers]
    assert ratios == [0.5, 0.25, 0]


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ({"hidden_units": []}, "hidden_units", "give widths above 0"),
        ({"hidden_units": [3, 0]}, "hidden_units", "give widths above 0"),
        ({"dropout_ratio": [0.1] * 3}, "dropout_ratio", "3 values for 2 layers"),
        ({"dropout_ratio": [1.0]}, "dropout_ratio", "give 0 to below 1"),
        ({"activation": "rellu"}, "activation", "did you mean 'relu'?"),
        ({"activation": "tf.nn.dicee"}, "activation", "did you mean 'dice'?"),
        ({"final_activation": "nn.ReLU"}, "final_activation", "did you mean 'relu'?"),
        ({"initializer": "he_unifrom"}, "initializer", "did you mean 'he_uniform'?"),
    ],
)
def test_a_bad_setting_is_named(settings: dict, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        KerasMLP(5, **MLP | settings)
    assert [fault.path for fault in error.value.faults] == [path]
    assert words in str(error.value)
