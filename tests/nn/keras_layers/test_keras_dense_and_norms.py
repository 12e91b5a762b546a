"""Dense, activations and norms of tf.keras.layers against EasyRec's numbers and their formulas."""

import itertools
import math
from collections.abc import Callable

import easyrec_numbers
import layer_laws
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_layers import rectifiers
from tzmmoe.nn.keras_layers.dense import Activation, Dense
from tzmmoe.nn.keras_layers.norms import BatchNormalization, LayerNormalization

DENSE = {
    "units": 3,
    "activation": "",
    "use_bias": True,
    "kernel_initializer": "glorot_uniform",
    "bias_initializer": "zeros",
}
BATCH = {"axis": -1, "momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True}
LAYER = {"axis": [-1], "epsilon": 1e-3, "center": True, "scale": True}
RELU = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}


def test_dense_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("k_dense")
    layer = easyrec_numbers.ready(Dense(5, **DENSE | {"activation": "relu"}))
    with torch.no_grad():
        layer.linear.weight.copy_(recording.weight("kernel").T)
        layer.linear.bias.copy_(recording.weight("bias"))
    recording.check(layer(recording.inputs[0]))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("k_bn", lambda: BatchNormalization([5], **BATCH)),
        ("k_ln", lambda: LayerNormalization([5], **LAYER)),
    ],
)
def test_norms_are_easyrecs(name: str, make: Callable) -> None:
    recording, layer = easyrec_numbers.Recording(name), easyrec_numbers.ready(make())
    with torch.no_grad():
        layer.weight.copy_(recording.weight("gamma"))
        layer.bias.copy_(recording.weight("beta"))
        if name == "k_bn":
            layer.norm.running_mean.copy_(recording.weight("moving_mean"))
            layer.norm.running_var.copy_(recording.weight("moving_variance"))
    recording.check(layer(recording.inputs[0]))


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 4), (2, 3, 4)])
def test_dense_maps_the_last_axis(use_bias: bool, shape: tuple[int, ...]) -> None:
    settings = DENSE | {"use_bias": use_bias, "activation": "tanh"}
    layer, x = parts.shaken(Dense(shape[-1], **settings)), parts.normal(3, *shape)
    wanted = torch.zeros(3, *shape[:-1], 3, dtype=torch.float64)
    kernel = layer.linear.weight.tolist()
    shifts = layer.linear.bias.tolist() if use_bias else [0.0] * 3
    for place in itertools.product(*map(range, (3, *shape[:-1]))):
        for unit, (line, shift) in enumerate(zip(kernel, shifts, strict=True)):
            y = sum(w * v for w, v in zip(line, x[place].tolist(), strict=True))
            wanted[(*place, unit)] = math.tanh(y + shift)
    assert_close(layer(x), wanted)
    layer_laws.check_laws(layer, x)
    layer_laws.check_gradients(layer, x)


def test_dense_starts_as_its_initializers_say() -> None:
    torch.manual_seed(0)
    layer = Dense(300, **DENSE | {"units": 200})
    bound = math.sqrt(6 / 500)
    assert 0.99 * bound < layer.linear.weight.abs().max() <= bound
    assert not layer.linear.bias.any()
    layer = Dense(3, **DENSE | {"kernel_initializer": "ones", "bias_initializer": "ones"})
    assert (layer.linear.weight == 1).all()
    assert (layer.linear.bias == 1).all()


def test_softmax_as_an_activation_is_over_the_last_axis() -> None:
    x = parts.normal(3, 2, 4)
    powers = x.exp()
    found = Activation(activation="softmax")(x)
    assert_close(found, powers / powers.sum(dim=2, keepdim=True))
    assert_close(Activation(activation="linear")(x), x)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((5,), -1), ((5,), 1), ((2, 3), 1), ((2, 3, 2), -2)])
def test_batch_norm_takes_all_other_axes_as_rows(
    center: bool, scale: bool, shape: tuple[int, ...], axis: int
) -> None:
    layer = parts.shaken(
        BatchNormalization(shape, **BATCH | {"axis": axis, "center": center, "scale": scale})
    )
    x, own = parts.normal(4, *shape), axis if axis > 0 else len(shape) + 1 + axis
    before = layer.norm.running_mean.clone()
    wanted = torch.empty_like(x)
    for place in range(shape[own - 1]):
        values = x.select(own, place)
        mean = values.sum() / values.numel()
        spread = ((values - mean).square().sum() / values.numel() + 0.001).sqrt()
        y = (values - mean) / spread
        y = y * layer.weight[place] if scale else y
        wanted.select(own, place).copy_(y + layer.bias[place] if center else y)
        before[place] = 0.99 * before[place] + 0.01 * mean
    assert_close(layer(x), wanted)
    assert_close(layer.norm.running_mean, before)
    assert (layer.weight is None, layer.bias is None) == (not scale, not center)
    layer_laws.check_laws(layer, x)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"), [((5,), [-1]), ((2, 3), [1]), ((2, 3), [1, 2]), ((2, 3, 4), [-1, 1])]
)
def test_layer_norm_is_over_its_axes_of_each_row(
    affine: bool, shape: tuple[int, ...], axis: list[int]
) -> None:
    settings = LAYER | {"axis": axis, "center": affine, "scale": affine}
    layer, x = parts.shaken(LayerNormalization(shape, **settings)), parts.normal(3, *shape)
    own = sorted(a % (len(shape) + 1) for a in axis)
    sizes = [shape[a - 1] if a in own else 1 for a in range(1, len(shape) + 1)]
    mean = sum(slices(x, own)) / math.prod(sizes)
    square = sum((part - mean) ** 2 for part in slices(x, own)) / math.prod(sizes)
    wanted = (x - mean) / (square + 0.001).sqrt()
    if affine:
        wanted = wanted * layer.weight.view(sizes) + layer.bias.view(sizes)
    assert_close(layer(x), wanted)
    layer_laws.check_laws(layer, x)
    layer_laws.check_gradients(layer, x)


def slices(x: Tensor, axes: list[int]) -> list[Tensor]:
    """x at each place of these axes, which keep size 1."""
    found = [x]
    for axis in axes:
        found = [part.narrow(axis, i, 1) for part in found for i in range(part.shape[axis])]
    return found


RECTIFIERS = {
    "relu": (rectifiers.ReLU(**RELU), lambda x: max(x, 0.0)),
    "capped": (
        rectifiers.ReLU(max_value=0.8, negative_slope=0.1, threshold=0.3),
        lambda x: 0.8 if x >= 0.8 else x if x >= 0.3 else 0.1 * (x - 0.3),
    ),
    "zero cap": (rectifiers.ReLU(**RELU | {"max_value": 0.0}), lambda x: 0.0),
    "leaky": (rectifiers.LeakyReLU(alpha=0.3), lambda x: x if x > 0 else 0.3 * x),
    "elu": (rectifiers.ELU(alpha=0.7), lambda x: x if x > 0 else 0.7 * (math.exp(x) - 1)),
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_rectifiers_are_their_functions_of_each_number(name: str) -> None:
    layer, function = RECTIFIERS[name]
    x = parts.normal(4, 2, 5)
    wanted = [function(value) for value in x.flatten().tolist()]
    assert_close(layer(x).flatten(), torch.tensor(wanted, dtype=torch.float64))
    layer_laws.check_laws(layer, x)


@pytest.mark.parametrize("shared", [[], [1], [-1], [1, 2]])
def test_prelu_has_a_slope_for_each_place_but_along_shared_axes(shared: list[int]) -> None:
    layer = rectifiers.PReLU([2, 5], alpha_initializer="zeros", shared_axes=shared)
    assert not layer.alpha.any()
    own = [axis % 3 for axis in shared]
    assert layer.alpha.shape == tuple(1 if a in own else n for a, n in ((1, 2), (2, 5)))
    layer, x = parts.shaken(layer), parts.normal(3, 2, 5)
    wanted = torch.empty_like(x)
    for b, i, j in itertools.product(range(3), range(2), range(5)):
        slope = layer.alpha[0 if 1 in own else i, 0 if 2 in own else j]
        wanted[b, i, j] = x[b, i, j] if x[b, i, j] > 0 else slope * x[b, i, j]
    assert_close(layer(x), wanted)
    layer_laws.check_laws(layer, x)
    layer_laws.check_gradients(layer, x)


@pytest.mark.parametrize("axis", [[-1], [1], [1, 2]])
def test_softmax_is_over_its_axes(axis: list[int]) -> None:
    layer, x = rectifiers.Softmax([2, 5], axis=axis), parts.normal(3, 2, 5)
    own = [a % 3 for a in axis]
    total = sum(part.exp() for part in slices(x, own))
    assert_close(layer(x), x.exp() / total)
    assert_close(layer(x + 1000), layer(x), rtol=1e-6, atol=1e-9)  # no overflow
    layer_laws.check_laws(layer, x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dense(5, **DENSE | {"units": 0}), "units: is 0"),
        (lambda: Dense(5, **DENSE | {"activation": "dice"}), "activation: is 'dice'"),
        (lambda: Dense(5, **DENSE | {"kernel_initializer": "x"}), "kernel_initializer: is 'x'"),
        (lambda: Dense(5, **DENSE | {"bias_initializer": "x"}), "bias_initializer: is 'x'"),
        (lambda: BatchNormalization([5], **BATCH | {"axis": 2}), "axis: is 2"),
        (
            lambda: BatchNormalization([5], **BATCH | {"axis": 0}),
            "axis: is 0, but the input (B, 5)",
        ),
        (lambda: BatchNormalization([5], **BATCH | {"momentum": 2.0}), "momentum: is 2"),
        (lambda: BatchNormalization([5], **BATCH | {"epsilon": 0.0}), "epsilon: is 0"),
        (lambda: LayerNormalization([5], **LAYER | {"axis": []}), "axis: is empty"),
        (lambda: LayerNormalization([5], **LAYER | {"axis": [1, -1]}), "lists an axis twice"),
        (lambda: LayerNormalization([5], **LAYER | {"epsilon": -1.0}), "epsilon: is -1"),
        (lambda: rectifiers.ReLU(**RELU | {"max_value": -1.0}), "max_value: is -1"),
        (lambda: rectifiers.ReLU(**RELU | {"negative_slope": -1.0}), "negative_slope: is -1"),
        (lambda: rectifiers.Softmax([5], axis=[-3]), "axis: is -3"),
        (
            lambda: rectifiers.PReLU([5], alpha_initializer="zero", shared_axes=[]),
            "alpha_initializer: is 'zero'",
        ),
        (
            lambda: rectifiers.PReLU([5], alpha_initializer="zeros", shared_axes=[2]),
            "shared_axes: is 2",
        ),
    ],
)
def test_a_bad_setting_is_named(make: Callable, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert words in str(error.value)
