"""Merging, joining and reshaping of tf.keras.layers, number by number."""

import itertools
import math
from collections.abc import Callable

import layer_laws
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_layers import merging, shaping
from tzmmoe.nn.keras_layers.joining import Concatenate, Dot

FUNCTIONS = {
    "Add": sum,
    "Multiply": math.prod,
    "Average": lambda values: sum(values) / len(values),
    "Maximum": max,
    "Minimum": min,
    "Subtract": lambda values: values[0] - values[1],
}


def drawn(*shapes: tuple[int, ...], rows: int = 3) -> list[Tensor]:
    return [parts.normal(rows, *shape, seed=seed) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "shapes",
    [
        [(4,), (4,)],
        [(4,), (4,), (4,)],
        [(2, 4), (2, 4)],
        [(2, 4), (1, 4)],
        [(4,), (2, 4)],
        [(2, 1, 3), (3,)],
    ],
)
def test_inputs_are_merged_number_by_number(name: str, shapes: list[tuple[int, ...]]) -> None:
    """An input with fewer axes counts for every place of those that it lacks."""
    shapes = shapes[:2] if name == "Subtract" else shapes
    layer, inputs = getattr(merging, name)(shapes), drawn(*shapes)
    whole = max(shapes, key=lambda shape: (len(shape), math.prod(shape)))
    wanted = torch.empty(3, *whole, dtype=torch.float64)
    for b, *place in itertools.product(*map(range, (3, *whole))):
        values = []
        for x in inputs:
            own = place[len(whole) + 1 - x.dim() :]
            own = [0 if size == 1 else i for i, size in zip(own, x.shape[1:], strict=True)]
            values.append(x[(b, *own)].item())
        wanted[(b, *place)] = FUNCTIONS[name](values)
    assert_close(layer(inputs), wanted)
    layer_laws.check_laws(layer, inputs)
    layer_laws.check_gradients(layer, inputs)


@pytest.mark.parametrize(
    ("shapes", "axis"),
    [([(2,), (3,), (1,)], -1), ([(2, 4), (3, 4)], 1), ([(2, 4), (2, 1)], 2), ([(2,), (3,)], 1)],
)
def test_inputs_are_joined_along_the_axis(shapes: list[tuple[int, ...]], axis: int) -> None:
    layer, inputs = Concatenate(shapes, axis=axis), drawn(*shapes)
    found, begin, own = layer(inputs), 0, axis % (len(shapes[0]) + 1)
    for x in inputs:
        for place in range(x.shape[own]):
            assert_close(found.select(own, begin + place), x.select(own, place))
        begin += x.shape[own]
    assert found.shape[own] == begin
    layer_laws.check_laws(layer, inputs)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("shapes", "axes", "letters"),
    [
        ([(4,), (4,)], [1], ("k", "k", "")),
        ([(4,), (4,)], [-1, 1], ("k", "k", "")),
        ([(2, 4), (3, 4)], [2], ("ik", "jk", "ij")),
        ([(2, 4), (4, 3)], [2, 1], ("ik", "kj", "ij")),
        ([(2, 4), (4,)], [-1], ("ik", "k", "i")),
        ([(1, 2, 4), (4, 3)], [3, 1], ("hik", "kj", "hij")),
    ],
)
def test_dot_sums_products_over_its_axes(
    normalize: bool, shapes: list[tuple[int, ...]], axes: list[int], letters: tuple[str, ...]
) -> None:
    layer, inputs = Dot(shapes, axes=axes, normalize=normalize), drawn(*shapes)
    left, right, out = letters
    pair = [x.clone() for x in inputs]
    if normalize:
        for x, names in zip(pair, (left, right), strict=True):
            x /= x.square().sum(dim=names.index("k") + 1, keepdim=True).sqrt()
    sizes = dict(zip(left + right, [*shapes[0], *shapes[1]], strict=True))
    wanted = torch.zeros(3, *(sizes[name] for name in out), dtype=torch.float64)
    for values in itertools.product(*(range(sizes[name]) for name in out)):
        at = dict(zip(out, values, strict=True))
        for k in range(sizes["k"]):
            at["k"] = k
            a, b = (
                x[(slice(None), *(at[name] for name in names))]
                for x, names in zip(pair, (left, right), strict=True)
            )
            wanted[(slice(None), *values)] += a * b
    wanted = wanted if out else wanted.unsqueeze(1)
    assert_close(layer(inputs), wanted)
    layer_laws.check_laws(layer, inputs)
    layer_laws.check_gradients(layer, inputs)


def test_the_cosine_of_a_zero_vector_is_zero() -> None:
    layer = Dot([(4,), (4,)], axes=[1], normalize=True)
    assert not layer([torch.zeros(2, 4), torch.ones(2, 4)]).any()


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4)])
def test_flatten_keeps_the_order_of_the_numbers(shape: tuple[int, ...]) -> None:
    (x,) = drawn(shape)
    wanted = [[row[place] for place in itertools.product(*map(range, shape))] for row in x]
    assert_close(shaping.Flatten()(x), torch.tensor(wanted, dtype=torch.float64))
    layer_laws.check_laws(shaping.Flatten(), x)
    assert shaping.Flatten()(x.flatten()).shape == (x.numel(), 1)


@pytest.mark.parametrize("target", [(12,), (3, 4), (-1, 2), (2, -1, 3), (1, 12), (-1,)])
def test_reshape_keeps_the_order_of_the_numbers_of_a_row(target: tuple[int, ...]) -> None:
    (x,) = drawn((4, 3))
    layer = shaping.Reshape([4, 3], target_shape=target)
    found = layer(x)
    assert found.shape == torch.Size([3, *torch.empty(12).view(target).shape])
    assert found.flatten().tolist() == x.flatten().tolist()
    layer_laws.check_laws(layer, x)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("places", [1, 4])
def test_pooling_is_over_the_places_of_a_sequence(keepdims: bool, places: int) -> None:
    (x,) = drawn((places, 3))
    for pool, function in (
        (shaping.GlobalAveragePooling1D, FUNCTIONS["Average"]),
        (shaping.GlobalMaxPool1D, max),
    ):
        layer = pool([places, 3], keepdims=keepdims)
        wanted = [[function(column.tolist()) for column in row.T] for row in x]
        found = layer(x)
        assert found.shape == ((3, 1, 3) if keepdims else (3, 3))
        assert_close(found.view(3, 3), torch.tensor(wanted, dtype=torch.float64))
        layer_laws.check_laws(layer, x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: merging.Add([[4]]), "gets 1 input; it needs a list of 2 or more"),
        (lambda: merging.Subtract([[4]] * 3), "gets 3 inputs; it needs a list of 2"),
        (lambda: merging.Add([[4], [5]]), "gets (B, 4) as inputs[0] for a result of shape (B, 5)"),
        (lambda: merging.Maximum([[2, 4], [3]]), "gets (B, 3) as inputs[1]"),
        (lambda: Concatenate([[4]], axis=1), "gets 1 input"),
        (lambda: Concatenate([[4], [5]], axis=0), "axis: is 0, but the input (B, 4) has axes 1 to"),
        (
            lambda: Concatenate([[2, 4], [2, 5]], axis=1),
            "as inputs[1], (B, 2, 5); sizes may differ",
        ),
        (lambda: Concatenate([[4], [2, 4]], axis=1), "as inputs[1], (B, 2, 4)"),
        (lambda: Dot([[4], [5]], axes=[1], normalize=False), "have sizes 4 and 5"),
        (lambda: Dot([[4]], axes=[1], normalize=False), "gets 1 input"),
        (lambda: Dot([[4], [4]], axes=[], normalize=False), "axes: is []; give one axis, or one"),
        (lambda: Dot([[4], [4]], axes=[2], normalize=False), "axes: is 2"),
        (lambda: shaping.Reshape([4], target_shape=[-1, -1]), "at most one of them -1"),
        (lambda: shaping.Reshape([4], target_shape=[0]), "target_shape: is [0]"),
        (lambda: shaping.Reshape([4], target_shape=[3]), "the input (B, 4) has 4 numbers"),
        (lambda: shaping.Reshape([4], target_shape=[3, -1]), "the input (B, 4) has 4 numbers"),
        (lambda: shaping.GlobalMaxPool1D([4], keepdims=False), "gets (B, 4); it needs (B, L, D)"),
        (
            lambda: shaping.GlobalAveragePooling1D([4, 2, 2], keepdims=False),
            "gets (B, 4, 2, 2); it needs (B, L, D)",
        ),
    ],
)
def test_a_bad_setting_or_shape_is_named(make: Callable, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert words in str(error.value)
