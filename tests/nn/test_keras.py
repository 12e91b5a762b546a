"""How layers start that are made as Keras makes them."""

import math

import oracles
import parts
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tzmmoe.nn.keras import start_as_keras
from tzmmoe.nn.mlp import MLP, StackedLinear
from tzmmoe.nn.norms import BatchNorm


def test_every_network_of_several_starts_from_glorot_uniform_of_its_own_sides() -> None:
    """Within +-sqrt(6 / (fan in + fan out)) of one network, whatever their number; biases 0."""
    torch.manual_seed(0)
    layer = StackedLinear(300, 200, 6, bias=True)
    start_as_keras(layer)
    bound = math.sqrt(6 / (300 + 200))
    for kernel in layer.weight:
        assert oracles.uniform_distance(kernel, -bound, bound) < 1.95
    assert not layer.bias.any()
    first, second = layer.weight.detach().flatten(1).double()[:2]
    correlation = torch.corrcoef(torch.stack([first, second]))[0, 1]
    assert abs(correlation) < 5 / len(first) ** 0.5


@pytest.mark.parametrize("bias", [True, False])
def test_so_does_a_linear_layer_with_and_without_bias(bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(500, 60, bias=bias)
    start_as_keras(layer)
    bound = math.sqrt(6 / (500 + 60))
    assert oracles.uniform_distance(layer.weight, -bound, bound) < 1.95
    assert layer.bias is None or not layer.bias.any()


def test_the_start_is_that_of_torchs_seed() -> None:
    def started(seed: int) -> torch.Tensor:
        layer = StackedLinear(30, 20, 3, bias=True)
        torch.manual_seed(seed)
        start_as_keras(layer)
        return layer.weight.detach().clone()

    assert torch.equal(started(1), started(1))
    assert not torch.equal(started(1), started(2))


def test_batch_norm_has_kerass_epsilon_and_momentum() -> None:
    """0.001, and 0.99 of the old running mean; scale 1, shift 0, mean 0, variance 1 at first."""
    norm = BatchNorm(4).double()
    start_as_keras(norm)
    x = 3 + 2 * parts.normal(50, 4)
    mean, variance = x.mean(dim=0), ((x - x.mean(dim=0)) ** 2).mean(dim=0)
    assert_close(norm(x), (x - mean) / (variance + 0.001).sqrt())
    assert_close(norm.running_mean, 0.01 * mean)
    before = norm.running_mean.clone()
    norm(x)
    assert_close(norm.running_mean, 0.99 * before + 0.01 * mean)
    fresh = BatchNorm(4).double().eval()
    start_as_keras(fresh)
    assert_close(fresh(x), x / math.sqrt(1.001))


def test_every_part_of_a_module_is_reached_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    settings = parts.PLAIN | {"use_bn": True, "activation": "nn.PReLU"}
    whole = nn.ModuleList([MLP(6, hidden_units=[5, 4], copies=3, **settings), nn.Linear(4, 2)])
    slopes = [layer.activation.weight.clone() for layer in whole[0].layers]
    start_as_keras(whole)
    for layer, slope in zip(whole[0].layers, slopes, strict=True):
        _, out, inner = layer.linear.weight.shape
        assert layer.linear.weight.abs().max() <= math.sqrt(6 / (out + inner))
        assert layer.norm.eps == 0.001
        assert layer.norm.momentum == pytest.approx(0.01)
        assert torch.equal(layer.activation.weight, slope)
    assert not whole[1].bias.any()
