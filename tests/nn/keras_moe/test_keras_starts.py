"""Initializers of Keras by name: their distributions, and that they can be repeated."""

import copy
import math

import numpy as np
import oracles
import pytest
import torch
from messages import fails
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_moe import initializers
from tzmmoe.nn.keras_moe.initializers import MAKERS

SHAPE = (300, 200)
CUT = 0.87962566103423978  # the standard deviation of a normal distribution cut at two


def of(name: str, /, **config: object) -> dict:
    return {"class_name": name, "config": config}


def values(identifier: object, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return initializers.get(identifier)(shape, dtype=torch.float64)


def normal_share(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_distance(drawn: Tensor, mean: float, spread: float, cut: bool) -> float:
    """As ``oracles.uniform_distance``, to a normal distribution, cut at two ``spread`` or not."""
    z = (drawn.flatten() - mean) / spread
    shares = torch.tensor([normal_share(point) for point in z.tolist()], dtype=torch.float64)
    if not cut:
        return oracles.uniform_distance(shares, 0, 1)
    low, high = normal_share(-2), normal_share(2)
    return oracles.uniform_distance(shares, low - 1e-12, high + 1e-12)


# By name, whether they are uniform, and their standard deviation for (300, 200).
SPREADS = {
    "glorot_uniform": (True, math.sqrt(2 / 500)),
    "glorot_normal": (False, math.sqrt(2 / 500)),
    "he_uniform": (True, math.sqrt(2 / 300)),
    "he_normal": (False, math.sqrt(2 / 300)),
    "lecun_uniform": (True, math.sqrt(1 / 300)),
    "lecun_normal": (False, math.sqrt(1 / 300)),
    "variance_scaling": (False, math.sqrt(1 / 300)),
    "random_uniform": (True, 0.1 / math.sqrt(12)),
    "uniform": (True, 0.1 / math.sqrt(12)),
    "truncated_normal": (False, 0.05 * CUT),
}


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("camel", [False, True])
def test_a_name_has_the_distribution_that_keras_documents(name: str, camel: bool) -> None:
    is_uniform, spread = SPREADS[name]
    if camel and name != "uniform":
        name = name.title().replace("_", "")
    drawn = values(name)
    if is_uniform:
        bound = math.sqrt(3) * spread
        assert oracles.uniform_distance(drawn, -bound, bound) < 1.95
    else:
        assert normal_distance(drawn, 0, spread / CUT, cut=True) < 1.95


@pytest.mark.parametrize(
    ("config", "mean", "spread", "cut"),
    [
        ("random_normal", 0, 0.05, False),
        ("normal", 0, 0.05, False),
        (of("RandomNormal", mean=3.0, stddev=0.5), 3, 0.5, False),
        (of("TruncatedNormal", mean=3.0, stddev=0.5), 3, 0.5, True),
        (of("VarianceScaling", scale=2.0, mode="fan_out"), 0, math.sqrt(2 / 200) / CUT, True),
        (of("VarianceScaling", distribution="normal"), 0, math.sqrt(1 / 300) / CUT, True),
        (
            of("VarianceScaling", mode="fan_avg", distribution="untruncated_normal"),
            *(0, math.sqrt(1 / 250), False),
        ),
        (
            of("VarianceScaling", input_axes=[1], output_axes=[0]),
            *(0, math.sqrt(1 / 200) / CUT, True),
        ),
    ],
)
def test_settings_move_and_scale_a_normal_distribution(
    config: object, mean: float, spread: float, cut: bool
) -> None:
    assert normal_distance(values(config), mean, spread, cut) < 1.95


def test_settings_move_and_scale_a_uniform_distribution() -> None:
    assert oracles.uniform_distance(values(of("RandomUniform", minval=1, maxval=4)), 1, 4) < 1.95
    scaling = of("VarianceScaling", scale=3.0, mode="fan_out", distribution="uniform")
    bound = math.sqrt(3 * 3 / 200)
    assert oracles.uniform_distance(values(scaling), -bound, bound) < 1.95


def test_a_bias_counts_its_size_as_inputs_and_outputs() -> None:
    bound = math.sqrt(6 / (5000 + 5000))
    assert oracles.uniform_distance(values("glorot_uniform", (5000,)), -bound, bound) < 1.95


def test_none_is_glorot_uniform() -> None:
    assert torch.equal(values(None), values("glorot_uniform"))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 3)])
def test_orthogonal_has_orthonormal_columns_or_if_fewer_rows(shape: tuple[int, int]) -> None:
    drawn = values(of("Orthogonal", gain=2.0), shape)
    vectors = drawn.T if shape[0] >= shape[1] else drawn
    assert_close(vectors @ vectors.T, 4 * torch.eye(min(shape), dtype=torch.float64))
    assert not torch.equal(drawn, values(of("Orthogonal", gain=2.0), shape, seed=1))


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ("zeros", np.zeros((3, 2))),
        ("zero", np.zeros((3, 2))),
        ("Zeros", np.zeros((3, 2))),
        ("ones", np.ones((3, 2))),
        ("one", np.ones((3, 2))),
        ("constant", np.zeros((3, 2))),
        (of("Constant", value=2.5), np.full((3, 2), 2.5)),
        (of("Constant", value=[1.0, 2.0]), np.array([[1.0, 2.0]] * 3)),
        ("identity", np.array([[1.0, 0], [0, 1], [0, 0]])),
        (of("IdentityInitializer", gain=3), np.array([[3.0, 0], [0, 3], [0, 0]])),
        (np.arange(6.0).reshape(3, 2), np.arange(6.0).reshape(3, 2)),
        (torch.arange(6).reshape(3, 2), np.arange(6.0).reshape(3, 2)),
        (lambda shape, dtype=None: torch.full(shape, 7.0, dtype=dtype), np.full((3, 2), 7.0)),
    ],
)
def test_others_give_the_values_that_they_name(config: object, wanted: np.ndarray) -> None:
    assert_close(values(config, (3, 2)), torch.from_numpy(wanted))


def test_every_name_is_tested_here() -> None:
    snake = {name for name in MAKERS if name.islower()}
    random = {*SPREADS, "random_normal", "normal", "orthogonal"}
    assert snake == random | {"zeros", "zero", "ones", "one", "constant", "identity"}


SEEDED = [
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "GlorotUniform",
    "Orthogonal",
]


@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_gives_the_same_sequence_whatever_torchs_seed(name: str) -> None:
    """In which every weight has values of its own."""
    first, second = (initializers.get(of(name, seed=7)) for _ in range(2))
    sequence = [first((5, 4), dtype=torch.float64) for _ in range(3)]
    torch.manual_seed(99)
    again = [second((5, 4), dtype=torch.float64) for _ in range(3)]
    for one, other in zip(sequence, again, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(sequence[0], sequence[1])
    assert not torch.equal(values(of(name, seed=8), (5, 4)), sequence[0])


@pytest.mark.parametrize("name", SEEDED)
def test_without_a_seed_torchs_seed_decides(name: str) -> None:
    assert torch.equal(values(name, seed=1), values(name, seed=1))
    assert not torch.equal(values(name, seed=1), values(name, seed=2))


def test_a_copy_goes_on_with_the_sequence() -> None:
    made = initializers.get(of("HeNormal", seed=7))
    made((2, 2), dtype=torch.float64)
    other = copy.deepcopy(made)
    assert torch.equal(made((2, 2), dtype=torch.float64), other((2, 2), dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_values_have_the_dtype_and_the_shape(name: str, dtype: torch.dtype) -> None:
    drawn = initializers.get(name)((6, 4), dtype=dtype)
    assert (drawn.dtype, tuple(drawn.shape)) == (dtype, (6, 4))


@pytest.mark.parametrize(
    ("identifier", "parts_of_message"),
    [
        ("glorot", ["'glorot'", "glorot_uniform"]),
        ("he_unifrom", ["did you mean 'he_uniform'"]),
        ("stft", ["'stft'"]),
        (3.0, ["3.0", "callable"]),
        (of("HeNormal", seed="a"), ["config.seed", "'a'"]),
        (of("HeNormal", sed=1), ["config.sed", "did you mean 'seed'"]),
        (of("HeNormal", scale=1.0), ["config.scale", "seed"]),
        (of("VarianceScaling", scale=0.0), ["config.scale", "0.0", "above 0"]),
        (of("VarianceScaling", scale=-1), ["config.scale", "-1"]),
        (of("VarianceScaling", mode="fan"), ["config.mode", "'fan'", "fan_in"]),
        (of("VarianceScaling", distribution="gauss"), ["config.distribution", "uniform"]),
        (of("VarianceScaling", input_axes=[0]), ["config.input_axes", "both"]),
        (of("RandomNormal", stddev=-0.1), ["config.stddev", "-0.1"]),
        (of("RandomUniform", minval=1, maxval=0), ["config.maxval", "0", "from 1"]),
        (of("Constant", value="a"), ["config.value", "'a'"]),
        (torch.nn.init.xavier_uniform_, ["xavier_uniform_", "shape", "dtype"]),
    ],
)
def test_what_cannot_be_meant_is_refused(identifier: object, parts_of_message: list[str]) -> None:
    with fails(ConfigError, *parts_of_message):
        initializers.get(identifier)


@pytest.mark.parametrize("name", ["orthogonal", "identity"])
def test_matrices_alone_are_orthogonal_or_the_identity(name: str) -> None:
    with fails(ConfigError, name.title(), "(4,)"):
        values(name, (4,))


def test_arrays_of_another_shape_are_refused() -> None:
    with fails(ConfigError, "(3, 2)", "(2, 3)"):
        values(np.zeros((3, 2)), (2, 3))
    with fails(ConfigError, "config.value", "(4,)", "(2, 3)"):
        values(of("Constant", value=[1.0, 2.0, 3.0, 4.0]), (2, 3))
