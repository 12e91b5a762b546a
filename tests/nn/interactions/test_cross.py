"""Cross against EasyRec's numbers and its formula number by number."""

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
from tzmmoe.nn.interactions.cross import Cross

PLAIN = {
    "projection_dim": None,
    "diag_scale": 0.0,
    "use_bias": True,
    "preactivation": "",
    "kernel_initializer": "truncated_normal",
    "bias_initializer": "zeros",
}


def pair(width: int, rows: int = 3) -> list[Tensor]:
    return [parts.normal(rows, width, seed=seed) for seed in (1, 2)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("cross", {}), ("cross_low", {"projection_dim": 2, "diag_scale": 0.5})],
)
def test_the_output_is_easyrecs(name: str, settings: dict) -> None:
    recording = easyrec_numbers.Recording(name)
    layer = easyrec_numbers.ready(Cross([5, 5], **PLAIN | settings))
    if layer.down is None:
        recording.linear(layer.linear, "dense")
    else:
        recording.linear(layer.down, "dense")
        recording.linear(layer.linear, "dense_1")
    recording.check(layer(recording.inputs))


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("rank", [None, 1, 3])
@pytest.mark.parametrize("diag_scale", [0.0, 0.7])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("name", ["", "tanh"])
def test_it_multiplies_the_first_input_by_a_map_of_the_second(
    width: int, rank: int | None, diag_scale: float, use_bias: bool, name: str
) -> None:
    settings = {
        "projection_dim": rank,
        "diag_scale": diag_scale,
        "use_bias": use_bias,
        "preactivation": name,
    }
    layer, inputs = parts.shaken(Cross([width, width], **PLAIN | settings)), pair(width)
    kernel = layer.linear.weight if rank is None else layer.linear.weight @ layer.down.weight
    wanted = torch.zeros(3, width, dtype=torch.float64)
    for b in range(3):
        x0, x = (part[b].tolist() for part in inputs)
        for d in range(width):
            y = sum(kernel[d, k].item() * x[k] for k in range(width))
            y += layer.linear.bias[d].item() if use_bias else 0.0
            y = math.tanh(y) if name else y
            wanted[b, d] = x0[d] * (y + diag_scale * x[d]) + x[d]
    assert_close(layer(inputs), wanted)
    layer_laws.check_gradients(layer, inputs)


def test_it_starts_as_its_initializers_say() -> None:
    torch.manual_seed(0)
    layer = Cross([300, 300], **PLAIN)
    assert layer.linear.weight.std().item() == pytest.approx(0.05 * 0.8796, rel=0.02)
    assert layer.linear.weight.abs().max() <= 0.1
    assert not layer.linear.bias.any()
    settings = {"kernel_initializer": "he_uniform", "bias_initializer": "ones"}
    layer = Cross([300, 300], **PLAIN | settings)
    bound = math.sqrt(6 / 300)
    assert oracles.uniform_distance(layer.linear.weight, -bound, bound) < 1.95
    assert (layer.linear.bias == 1).all()


@pytest.mark.parametrize("rank", [None, 2])
def test_it_obeys_the_laws_of_layers(rank: int | None) -> None:
    settings = {"projection_dim": rank, "diag_scale": 0.5, "preactivation": "relu"}
    layer_laws.check_laws(parts.shaken(Cross([4, 4], **PLAIN | settings)), pair(4))


@pytest.mark.parametrize(
    ("widths", "settings", "words"),
    [
        ([4, 5], {}, "inputs[0] has 4, inputs[1] has 5"),
        ([4], {}, "gets 1 input; it needs two"),
        ([4] * 3, {}, "gets 3 inputs; it needs two"),
        ([4, 4], {"diag_scale": -1.0}, "diag_scale: is -1"),
        ([4, 4], {"projection_dim": 0}, "projection_dim: is 0"),
        ([4, 4], {"preactivation": "reluu"}, "preactivation: is 'reluu'"),
        ([4, 4], {"kernel_initializer": "he"}, "kernel_initializer: is 'he'"),
        ([4, 4], {"bias_initializer": "zero"}, "bias_initializer: is 'zero'"),
    ],
)
def test_a_bad_setting_or_shape_is_named(widths: list[int], settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        Cross(widths, **PLAIN | settings)
    assert words in str(error.value)
