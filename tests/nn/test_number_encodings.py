"""Piecewise linear and periodic embeddings against their formulas, one number at a time."""

import math
from collections.abc import Sequence
from itertools import pairwise

import layer_laws
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.numbers import EncodedEmbedding, Periodic, PiecewiseLinear

BOUNDARIES = [-2.0, -0.5, 0.25, 4.0]
NAN = math.nan


def piecewise(
    count: int, dim: int, boundaries: Sequence[float] = BOUNDARIES, name: str = ""
) -> EncodedEmbedding:
    encoding = PiecewiseLinear(boundaries)
    return parts.shaken(EncodedEmbedding(encoding, count, dim, activation=name))


def periodic(count: int, dim: int, frequencies: int = 3, name: str = "") -> EncodedEmbedding:
    encoding = Periodic(count, frequencies=frequencies, sigma=0.5)
    return parts.shaken(EncodedEmbedding(encoding, count, dim, activation=name))


def bins(x: float, boundaries: Sequence[float]) -> list[float]:
    """How much of each bin lies below x."""
    out = []
    for low, high in pairwise(boundaries):
        if x <= low:
            out.append(0.0)
        elif x >= high:
            out.append(1.0)
        else:
            out.append((x - low) / (high - low))
    return out


def waves(x: float, frequencies: Sequence[float]) -> list[float]:
    angles = [2 * math.pi * c * x for c in frequencies]
    return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]


def by_loops(layer: EncodedEmbedding, rows: Sequence[Sequence[float]], encode: object) -> Tensor:
    """``encode``: the number and its place in the row -> its encoding."""
    out = []
    for row in rows:
        embedded = []
        for r, x in enumerate(row):
            weight, bias = layer.weight[r].T.tolist(), layer.bias[r].tolist()
            if math.isnan(x):
                embedded += [0.0] * len(bias)
                continue
            e = encode(x, r)
            y = [
                sum(w * v for w, v in zip(line, e, strict=True)) + b
                for line, b in zip(weight, bias, strict=True)
            ]
            embedded += [max(v, 0.0) for v in y] if layer.activation is not None else y
        out.append(embedded)
    return torch.tensor(out, dtype=torch.float64)


ROWS = [[-2.0, 0.25], [4.0, NAN], [-7.0, 1e30], [NAN, NAN], [0.0, -1.25], [3.9, -1e30]]


@pytest.mark.parametrize("name", ["", "nn.ReLU"])
@pytest.mark.parametrize("boundaries", [BOUNDARIES, [-1.0, 3.0]], ids=["bins", "one bin"])
def test_bins_are_filled_from_below_then_a_layer_of_its_own_for_each_number(
    boundaries: list[float], name: str
) -> None:
    layer = piecewise(2, 3, boundaries, name)
    wanted = by_loops(layer, ROWS, lambda x, r: bins(x, boundaries))
    assert_close(layer(torch.tensor(ROWS, dtype=torch.float64)), wanted)


@pytest.mark.parametrize("name", ["", "nn.ReLU"])
@pytest.mark.parametrize("frequencies", [1, 5])
def test_waves_of_own_frequencies_then_a_layer_of_its_own_for_each_number(
    frequencies: int, name: str
) -> None:
    layer = periodic(2, 3, frequencies, name)
    rows = [[0.0, 0.7], [NAN, -3.1], [12.5, NAN], [-0.01, 1e3]]
    own = layer.encoding.waves.coefficients.tolist()
    wanted = by_loops(layer, rows, lambda x, r: waves(x, own[r]))
    assert_close(layer(torch.tensor(rows, dtype=torch.float64)), wanted)


def test_an_encoding_never_falls_and_is_all_of_the_bins_below_a_boundary() -> None:
    encoding = PiecewiseLinear(BOUNDARIES)
    x = torch.linspace(-3, 5, 200)
    e = encoding(x.unsqueeze(0))[0]
    assert (e.diff(dim=0) >= 0).all()
    at_boundaries = encoding(torch.tensor([BOUNDARIES]))[0]
    assert torch.equal(at_boundaries, torch.ones(4, 3).tril(-1))


def test_numbers_beyond_the_ends_are_embedded_as_the_ends() -> None:
    layer = piecewise(1, 4, name="nn.ReLU").float()
    ends = layer(torch.tensor([[-2.0], [4.0]]))
    for low, high in ((-2.1, 4.1), (-1e6, 1e6), (-3.4e38, 3.4e38)):
        assert torch.equal(layer(torch.tensor([[low], [high]])), ends)


@pytest.mark.parametrize("make", [piecewise, periodic])
def test_a_missing_number_is_zeros_which_no_other_number_is(make: object) -> None:
    layer = make(2, 3)
    missing = torch.full((1, 2), NAN, dtype=torch.float64)
    assert not layer(missing).any()
    x = torch.tensor([[-1e6], [-2.0], [0.0], [4.0], [1e6]], dtype=torch.float64).expand(5, 2)
    for part in layer(x).split(3, dim=1):
        assert part.any(dim=1).all()


@pytest.mark.parametrize("make", [piecewise, periodic])
@pytest.mark.parametrize("name", ["", "nn.ReLU", "nn.PReLU"])
def test_rows_without_a_number_add_nothing_to_any_gradient(make: object, name: str) -> None:
    layer = make(1, 3, name=name)
    x = torch.tensor([[0.3], [-1.0], [2.2]], dtype=torch.float64)
    holes = torch.tensor([[NAN], [0.3], [NAN], [-1.0], [2.2]], dtype=torch.float64)
    found = []
    for numbers in (x, holes):
        layer.zero_grad()
        layer(numbers).square().sum().backward()
        found.append([p.grad.clone() for p in layer.parameters()])
    for with_holes, without in zip(found[1], found[0], strict=True):
        assert with_holes.isfinite().all()
        assert_close(with_holes, without)
    layer.zero_grad()
    layer(holes[:1]).sum().backward()
    assert not any(p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("make", [piecewise, periodic])
@pytest.mark.parametrize("name", ["", "nn.Tanh"])
def test_it_embeds_each_row_by_itself_exports_and_has_exact_gradients(
    make: object, name: str
) -> None:
    layer, x = make(2, 3, name=name), parts.normal(5, 2)
    layer_laws.check_all_is_trained(layer, x)
    layer_laws.check_rows(layer.eval(), x)
    layer_laws.check_export(layer, x)
    layer_laws.check_gradients(layer, x)


def test_the_layer_starts_as_torchs_own() -> None:
    """Uniform within 1 / sqrt(inputs), weights and biases."""
    torch.manual_seed(0)
    layer = EncodedEmbedding(PiecewiseLinear(list(range(26))), 40, 30, activation="")
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max().item() <= 0.2
        assert parameter.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PiecewiseLinear([]), "boundaries: is not set"),
        (lambda: PiecewiseLinear([1.0]), "boundaries: is one number"),
        (lambda: PiecewiseLinear([0.0, math.inf]), "boundaries: has 0 and inf"),
        (lambda: PiecewiseLinear([0.0, 1e39]), "boundaries: has 0 and 1e+39"),
        (lambda: PiecewiseLinear([-3e38, 3e38]), "no bin of 32-bit numbers fits"),
        (lambda: PiecewiseLinear([1.0, 1.0 + 1e-12]), "no bin of 32-bit numbers fits"),
        (lambda: Periodic(1, frequencies=0, sigma=1.0), "frequencies: is 0"),
        (lambda: Periodic(1, frequencies=3, sigma=None), "sigma: is not set"),
        (lambda: Periodic(1, frequencies=3, sigma=0.0), "sigma: is 0"),
        (lambda: Periodic(1, frequencies=3, sigma=NAN), "sigma: is nan"),
        (lambda: Periodic(1, frequencies=3, sigma=math.inf), "sigma: is inf"),
        (lambda: piecewise(1, 3, name="Dice"), "activation: is 'Dice', which depends on the other"),
        (lambda: piecewise(1, 3, name="nn.Relu"), "activation: 'nn.Relu'"),
    ],
)
def test_a_setting_that_makes_no_layer_is_named(make: object, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert words in str(error.value)
