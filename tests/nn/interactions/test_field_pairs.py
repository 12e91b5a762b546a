"""Layers over pairs of fields against EasyRec's numbers and against loops over pairs."""

import itertools
import math
from collections.abc import Sequence

import easyrec_numbers
import layer_laws
import oracles
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.interactions.bilinear import BiLinear
from tzmmoe.nn.interactions.cin import CIN
from tzmmoe.nn.interactions.dot import DotInteraction
from tzmmoe.nn.interactions.fm import FM

EACH_SIZE = pytest.mark.parametrize(("count", "width"), [(1, 3), (2, 1), (5, 4)])
UNEVEN = [3, 3, 1, 4]


def fields(widths: Sequence[int], rows: int = 3) -> list[Tensor]:
    return [parts.normal(rows, width, seed=index) for index, width in enumerate(widths)]


def dot(a: Tensor, b: Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


@pytest.mark.parametrize(("name", "use_variant"), [("fm", False), ("fm_variant", True)])
def test_fm_is_easyrecs(name: str, use_variant: bool) -> None:
    recording = easyrec_numbers.Recording(name)
    recording.check(FM([4] * 5, use_variant=use_variant)(recording.inputs))


@EACH_SIZE
@pytest.mark.parametrize("rows", [1, 3])
def test_fm_sums_the_products_of_all_pairs(count: int, width: int, rows: int) -> None:
    inputs = fields([width] * count, rows)
    wanted = torch.zeros(rows, width, dtype=torch.float64)
    for a, b in itertools.combinations(inputs, 2):
        wanted += a * b
    variant, plain = (FM([width] * count, use_variant=flag) for flag in (True, False))
    assert_close(variant(inputs), wanted)
    assert_close(plain(inputs), wanted.sum(dim=1, keepdim=True))
    assert_close(plain(torch.stack(inputs, dim=1)), plain(inputs))
    assert (variant.out_features, plain.out_features) == (width, 1)
    layer_laws.check_gradients(plain, inputs)


@pytest.mark.parametrize(("name", "with_self"), [("dot", False), ("dot_self", True)])
def test_dot_interaction_is_easyrecs(name: str, with_self: bool) -> None:
    recording = easyrec_numbers.Recording(name)
    layer = DotInteraction([3] * 4, self_interaction=with_self, skip_gather=False)
    recording.check(layer(recording.inputs))


@pytest.mark.parametrize("with_self", [False, True])
@pytest.mark.parametrize(("count", "width"), [(2, 1), (5, 4)])
def test_dot_interaction_lists_the_pairs_row_by_row(
    with_self: bool, count: int, width: int
) -> None:
    inputs = fields([width] * count)
    lists, squares = [], []
    for row in zip(*inputs, strict=True):
        pairs, square = [], []
        for i, j in itertools.product(range(count), repeat=2):
            wanted = i > j or (with_self and i == j)
            product = dot(row[i], row[j])
            square.append(product if wanted else 0.0)
            pairs += [product] if wanted else []
        lists.append(pairs)
        squares.append(square)
    gathered = DotInteraction([width] * count, self_interaction=with_self, skip_gather=False)
    whole = DotInteraction([width] * count, self_interaction=with_self, skip_gather=True)
    assert_close(gathered(inputs), torch.tensor(lists, dtype=torch.float64))
    assert_close(whole(inputs), torch.tensor(squares, dtype=torch.float64))
    assert gathered.out_features == len(lists[0])
    assert whole.out_features == count * count


def test_one_field_has_a_dot_product_with_itself() -> None:
    inputs = fields([3])
    layer = DotInteraction([3], self_interaction=True, skip_gather=False)
    assert_close(layer(inputs), inputs[0].square().sum(dim=1, keepdim=True))


def test_cin_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("cin")
    layer = easyrec_numbers.ready(CIN([3] * 4, hidden_feature_sizes=[3, 2]))
    for index, (kernel, bias) in enumerate(zip(layer.kernels, layer.biases, strict=True)):
        recording.fill(kernel, f"cin_kernel_{index}")
        recording.fill(bias, f"cin_bias_{index}")
    recording.check(layer(recording.inputs[0]))


@EACH_SIZE
@pytest.mark.parametrize("sizes", [[1], [3, 2], [2, 1, 4]])
def test_cin_sums_products_with_the_input_layer_by_layer(
    count: int, width: int, sizes: list[int]
) -> None:
    layer = parts.shaken(CIN([width] * count, hidden_feature_sizes=sizes))
    inputs, rows = fields([width] * count), []
    for row in zip(*inputs, strict=True):
        x, pooled = [field.tolist() for field in row], []
        h = x
        for kernel, bias in zip(layer.kernels, layer.biases, strict=True):
            maps = []
            for k in range(len(kernel)):
                sums = [bias[k].item()] * width
                for i, j, d in itertools.product(range(len(h)), range(count), range(width)):
                    sums[d] += kernel[k, i, j].item() * h[i][d] * x[j][d]
                maps.append([max(0.0, value) for value in sums])
            h = maps
            pooled += [sum(values) for values in maps]
        rows.append(pooled)
    assert_close(layer(inputs), torch.tensor(rows, dtype=torch.float64))
    assert layer.out_features == sum(sizes)


def test_cin_starts_by_he_normal_of_keras_and_zeros() -> None:
    """Keras's fan in of (out, h, x0) is out times h."""
    torch.manual_seed(0)
    layer = CIN([2] * 50, hidden_feature_sizes=[40, 30])
    kernel = layer.kernels[1].detach().double()
    assert kernel.shape == (30, 40, 50)
    assert kernel.std().item() == pytest.approx((2 / (30 * 40)) ** 0.5, rel=0.02)
    assert 2.2 < kernel.abs().max() / kernel.std() < 2.3  # a normal distribution, cut
    assert not any(bias.any() for bias in layer.biases)


@pytest.mark.parametrize(
    ("name", "kind", "use_plus"),
    [("bilinear_all", "all", False), ("bilinear_each", "each", True)],
)
def test_bilinear_is_easyrecs(name: str, kind: str, use_plus: bool) -> None:
    recording = easyrec_numbers.Recording(name)
    layer = BiLinear([4] * 4, type=kind, use_plus=use_plus, num_output_units=6)
    load_bilinear(recording, easyrec_numbers.ready(layer), "")
    recording.check(layer(recording.inputs))


def load_bilinear(recording: easyrec_numbers.Recording, layer: BiLinear, prefix: str) -> None:
    recording.linear(layer.final, f"{prefix}output")
    if hasattr(layer.left.linear, "in_features"):
        recording.linear(layer.left.linear, f"{prefix}all")
        return
    for index, (kernel, bias) in enumerate(
        zip(layer.left.linear.weight, layer.left.linear.bias, strict=True)
    ):
        name = f"{prefix}each_{index}"
        with torch.no_grad():
            kernel.copy_(recording.weight(f"{name}/kernel").T)
            bias.copy_(recording.weight(f"{name}/bias"))


def by_pairs(layer: BiLinear, kind: str, inputs: list[Tensor], use_plus: bool) -> Tensor:
    rows = []
    for row in zip(*inputs, strict=True):
        products = []
        for i, j in itertools.combinations(range(len(row)), 2):
            kernel, bias = weights_of(layer, kind, i, j)
            left = [dot(line, row[i]) + b for line, b in zip(kernel, bias.tolist(), strict=True)]
            pair = [a * b for a, b in zip(left, row[j].tolist(), strict=True)]
            products += [sum(pair)] if use_plus else pair
        final = torch.tensor(products, dtype=torch.float64)
        rows.append(layer.final.weight @ final + layer.final.bias)
    return torch.stack(rows)


def weights_of(layer: BiLinear, kind: str, i: int, j: int) -> tuple[Tensor, Tensor]:
    if kind == "all":
        return layer.left.linear.weight, layer.left.linear.bias
    if kind == "each":
        return layer.left.linear.weight[i], layer.left.linear.bias[i]
    begin = sum(layer.widths[i + 1 : j])
    part = slice(begin, begin + layer.widths[j])
    return layer.left.linears[i].weight[part], layer.left.linears[i].bias[part]


@pytest.mark.parametrize("use_plus", [False, True])
@pytest.mark.parametrize(
    ("kind", "widths"),
    [(kind, [4] * count) for kind in ("all", "each", "interaction") for count in (2, 5)]
    + [("interaction", UNEVEN), ("interaction", [2, 1])],
)
def test_bilinear_maps_the_products_of_all_pairs(
    kind: str, widths: list[int], use_plus: bool
) -> None:
    layer = BiLinear(widths, type=kind, use_plus=use_plus, num_output_units=3)
    layer, inputs = parts.shaken(layer), fields(widths)
    assert_close(layer(inputs), by_pairs(layer, kind, inputs, use_plus))
    layer_laws.check_gradients(layer, fields(widths, rows=2))


def test_each_kernel_of_a_pair_starts_by_its_own_glorot_bound() -> None:
    torch.manual_seed(0)
    layer = BiLinear([300, 200, 20], type="interaction", use_plus=True, num_output_units=2)
    for j, width in ((1, 200), (2, 20)):
        kernel, bias = weights_of(layer, "interaction", 0, j)
        bound = math.sqrt(6 / (300 + width))
        assert oracles.uniform_distance(kernel, -bound, bound) < 1.95
        assert not bias.any()


LAYERS = {
    "fm": lambda widths: FM(widths, use_variant=False),
    "dot": lambda widths: DotInteraction(widths, self_interaction=True, skip_gather=False),
    "dot in place": lambda widths: DotInteraction(widths, self_interaction=False, skip_gather=True),
    "cin": lambda widths: CIN(widths, hidden_feature_sizes=[3, 2]),
    "all": lambda widths: BiLinear(widths, type="all", use_plus=True, num_output_units=2),
    "each": lambda widths: BiLinear(widths, type="each", use_plus=False, num_output_units=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_pairs_obey_the_laws_of_layers(name: str) -> None:
    layer_laws.check_laws(parts.shaken(LAYERS[name]([4] * 3)), fields([4] * 3))


def test_bilinear_of_unequal_fields_obeys_them_too() -> None:
    layer = BiLinear(UNEVEN, type="interaction", use_plus=True, num_output_units=2)
    layer_laws.check_laws(parts.shaken(layer), fields(UNEVEN))


@pytest.mark.parametrize("name", LAYERS)
def test_an_unequal_width_is_named_with_its_index(name: str) -> None:
    with pytest.raises(ConfigError, match=r"inputs\[0\] has 4, inputs\[2\] has 5"):
        LAYERS[name]([4, 4, 5])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FM([], use_variant=False), "gets 0 inputs"),
        (lambda: DotInteraction([3], self_interaction=False, skip_gather=False), "gets 1 input;"),
        (lambda: CIN([3], hidden_feature_sizes=[]), "hidden_feature_sizes: is []"),
        (lambda: CIN([3], hidden_feature_sizes=[2, 0]), "hidden_feature_sizes: is [2, 0]"),
        (
            lambda: BiLinear([3, 3], type="al", use_plus=True, num_output_units=2),
            "type: is 'al'; give one of all, each, interaction; did you mean 'all'?",
        ),
        (
            lambda: BiLinear([3, 3], type="all", use_plus=True, num_output_units=0),
            "num_output_units: is 0",
        ),
        (
            lambda: BiLinear([3], type="all", use_plus=True, num_output_units=1),
            "a list of 2 or more",
        ),
    ],
)
def test_what_no_layer_can_be_made_of_is_named(make: object, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert words in str(error.value)
