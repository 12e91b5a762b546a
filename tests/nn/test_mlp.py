"""Networks side by side against plain torch networks one by one."""

import itertools

import oracles
import parts
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.mlp import LARGE, MLP, StackedLinear

NORMS = {"plain": {}, "batch": {"use_bn": True}, "layer": {"use_ln": True}}
ALL = pytest.mark.parametrize("activation", oracles.ACTIVATIONS)


def made(hidden_units: list[int], copies: int, activation: str, **settings: object) -> MLP:
    """In float64, with every parameter off its start; 6 inputs."""
    torch.manual_seed(0)
    chosen = parts.PLAIN | {"activation": activation} | settings
    return parts.shaken(MLP(6, hidden_units=hidden_units, copies=copies, **chosen))


def one_by_one(networks: list[nn.Module], x: Tensor) -> Tensor:
    """(B, E, H)."""
    return torch.stack([network(x) for network in networks], dim=1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_only_bias_without_batch_norm_gives_a_bias(bias: bool, norm: str) -> None:
    """Zero input and zero scale leave the bias alone; batch norm would take it off again."""
    mlp = made([5, 4], 3, "", bias=bias, **NORMS[norm])
    for layer in mlp.layers:
        assert (layer.linear.bias is not None) == (bias and norm != "batch")
    x = torch.zeros(4, 6, dtype=torch.float64)
    first = mlp.layers[0].linear(x)
    assert bool((first != 0).all()) == (bias and norm != "batch")


@pytest.mark.parametrize("width", [127, 128, 200])
def test_wide_layers_equal_networks_apart_on_both_sides_of_the_threshold(width: int) -> None:
    torch.manual_seed(0)
    mlp = MLP(32, hidden_units=[128, width, 128], copies=3, **parts.PLAIN).double()
    assert (mlp.layers[1].linear.weight[0].numel() >= LARGE) == (width >= 128)
    x = parts.normal(33, 32)
    assert_close(mlp(x), one_by_one(oracles.networks(mlp, "nn.ReLU"), x))


@pytest.mark.parametrize("bias", [True, False])
def test_one_product_and_many_give_the_same_with_gradients(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer = StackedLinear(5, 4, 3, bias).double()
    direction, found = parts.normal(7, 3, 4, seed=1), []
    for large in (1, 1000):
        monkeypatch.setattr("tzmmoe.nn.mlp.LARGE", large)
        x = parts.normal(7, 3, 5).requires_grad_()
        y = layer(x)
        found.append([y, *torch.autograd.grad((y * direction).sum(), [x, *layer.parameters()])])
    assert_close(found[0], found[1])


@pytest.mark.parametrize("activation", ["nn.Tanh", "nn.PReLU", "Dice"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rows", [1, 4])
def test_gradients_equal_finite_differences(activation: str, norm: str, rows: int) -> None:
    mlp = made([3, 2], 2, activation, **NORMS[norm])
    names, values = zip(*mlp.named_parameters(), strict=True)
    x = parts.normal(rows, 6).requires_grad_()

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(mlp, dict(zip(names, parameters, strict=True)), x)

    assert gradcheck(run, (x, *values))


@ALL
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_when_not_training_a_row_does_not_depend_on_the_others(
    activation: str, norm: str, rows: int
) -> None:
    mlp = made([5, 4], 3, activation, dropout_ratio=[0.5], **NORMS[norm]).eval()
    x = parts.normal(9, 6)
    assert_close(mlp(x[:rows]), mlp(x)[:rows])


def test_dropout_keeps_its_share_of_units_at_their_value_over_that_share() -> None:
    """Of 180,000 units each; five standard deviations around the share."""
    ratios = [0.1, 0.6]
    torch.manual_seed(0)
    mlp = MLP(4, hidden_units=[30, 30], copies=3, **parts.PLAIN | {"activation": ""})
    dropping = MLP(
        4,
        hidden_units=[30, 30],
        copies=3,
        **parts.PLAIN | {"activation": "", "dropout_ratio": ratios},
    )
    dropping.load_state_dict(mlp.state_dict())
    x = parts.normal(2000, 4, dtype=torch.float32)
    for layer, plain, ratio in zip(dropping.layers, mlp.layers, ratios, strict=True):
        y, wanted = layer(x), plain(x)
        kept = y != 0
        assert_close(y[kept], wanted[kept] / (1 - ratio), rtol=3e-5, atol=1e-5)
        tolerance = 5 * (ratio * (1 - ratio) / kept.numel()) ** 0.5
        assert abs(kept.double().mean() - (1 - ratio)) < tolerance
        both = kept[:, 0] & kept[:, 1]  # each network drops units of its own
        assert abs(both.double().mean() - (1 - ratio) ** 2) < 3 * tolerance
        x = wanted
    assert_close(dropping.eval()(x[:, 0, :4]), mlp(x[:, 0, :4]))


@pytest.mark.parametrize(
    ("ratios", "wanted"), [([], [0, 0]), ([0.3], [0.3, 0.3]), ([0, 0.2], [0, 0.2])]
)
def test_dropout_ratios_are_none_one_for_all_or_one_for_each(
    ratios: list[float], wanted: list[float]
) -> None:
    mlp = MLP(4, hidden_units=[3, 2], **parts.PLAIN | {"dropout_ratio": ratios})
    assert [layer.dropout.p if layer.dropout else 0 for layer in mlp.layers] == wanted


@pytest.mark.parametrize(("in_features", "width"), [(3, 2000), (400, 64)])
def test_initial_weights_and_biases_are_distributed_as_those_of_linear(
    in_features: int, width: int
) -> None:
    """Uniform within +-1 / sqrt(D), and so are those of nn.Linear by the same measure."""
    torch.manual_seed(1)
    layer = StackedLinear(in_features, width, 4, bias=True)
    bound = in_features**-0.5
    for tensor in (layer.weight, layer.bias, nn.Linear(in_features, 4 * width).weight):
        assert oracles.uniform_distance(tensor, -bound, bound) < 1.95


def test_networks_differ_at_the_start_as_unrelated_ones_do() -> None:
    torch.manual_seed(0)
    mlp = MLP(64, hidden_units=[128, 64], copies=6, **parts.PLAIN)
    for layer in mlp.layers:
        weights = layer.linear.weight.detach().flatten(1).double()
        for first, second in itertools.combinations(weights, 2):
            correlation = torch.corrcoef(torch.stack([first, second]))[0, 1]
            assert abs(correlation) < 5 / len(first) ** 0.5
        biases = layer.linear.bias.detach()
        assert len(set(biases.flatten().tolist())) > 0.99 * biases.numel()


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"hidden_units": []}, "hidden_units"),
        ({"hidden_units": [4, 0]}, "hidden_units"),
        ({"dropout_ratio": [0.1, 0.2, 0.3]}, "dropout_ratio"),
        ({"dropout_ratio": [1.0]}, "dropout_ratio"),
        ({"dropout_ratio": [-0.1]}, "dropout_ratio"),
        ({"dropout_ratio": [float("nan")]}, "dropout_ratio"),
        ({"use_bn": True, "use_ln": True}, "use_ln"),
        ({"activation": "nn.Relu"}, "activation"),
    ],
)
def test_a_bad_setting_is_named(settings: dict, path: str) -> None:
    with pytest.raises(ConfigError) as error:
        MLP(4, **{"hidden_units": [4, 4]} | parts.PLAIN | settings)
    assert [fault.path for fault in error.value.faults] == [path]
