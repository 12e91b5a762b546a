"""Activations, regularizers and constraints of Keras by name, against their formulas."""

import itertools
import math

import keras_oracles
import numpy as np
import parts
import pytest
import torch
from messages import fails
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_moe import activations, constraints, regularizers

POINTS = [-200.0, -6.0, -3.0, -1.0, -0.5, -0.3, 0.0, 0.3, 0.5, 1.0, 3.0, 6.0, 19.0, 21.0, 200.0]


def of(name: str, /, **config: object) -> dict:
    return {"class_name": name, "config": config}


@pytest.mark.parametrize("name", keras_oracles.FUNCTIONS)
def test_an_activation_computes_its_formula_at_extremes_too(name: str) -> None:
    x = torch.tensor(POINTS, dtype=torch.float64)
    wanted = [keras_oracles.FUNCTIONS[name](point) for point in POINTS]
    assert_close(
        activations.get(name)(x), torch.tensor(wanted, dtype=torch.float64), atol=1e-15, rtol=1e-12
    )


def test_every_activation_has_its_formula() -> None:
    along_an_axis = {"softmax", "log_softmax", "sparsemax"}
    assert set(activations.FUNCTIONS) == set(keras_oracles.FUNCTIONS) | along_an_axis


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (2, 3, 4), (0, 4)])
def test_softmax_and_its_logarithm_act_along_the_last_axis(shape: tuple[int, ...]) -> None:
    x = 5 * parts.normal(*shape)
    wanted = np.array([keras_oracles.softmax(row) for row in x.reshape(-1, shape[-1]).tolist()])
    wanted = torch.from_numpy(wanted.reshape(shape))
    assert_close(activations.get("softmax")(x), wanted)
    assert_close(activations.get("log_softmax")(x), wanted.log())


def nearest_shares(row: list[float]) -> list[float]:
    """The nearest point with shares >= 0 and sum 1: the best over all sets of shares above 0."""
    best, distance = [], math.inf
    for size in range(1, len(row) + 1):
        for chosen in itertools.combinations(range(len(row)), size):
            shift = (sum(row[i] for i in chosen) - 1) / size
            point = [row[i] - shift if i in chosen else 0.0 for i in range(len(row))]
            apart = sum((a - b) ** 2 for a, b in zip(point, row, strict=True))
            if min(point) >= 0 and apart < distance:
                best, distance = point, apart
    return best


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_sparsemax_is_the_nearest_distribution(scale: float) -> None:
    x = scale * parts.normal(2, 6, 5)
    wanted = [[nearest_shares(row) for row in block] for block in x.tolist()]
    found = activations.get("sparsemax")(x)
    assert_close(found, torch.tensor(wanted, dtype=torch.float64))
    assert scale < 1 or (found == 0).any()


RELU = {"max_value": 2.0, "negative_slope": 0.3, "threshold": 0.5}


@pytest.mark.parametrize(
    ("config", "formula"),
    [
        (of("ReLU", **RELU), lambda x: 2.0 if x > 2 else x if x >= 0.5 else 0.3 * (x - 0.5)),
        (of("ReLU"), lambda x: max(x, 0.0)),
        (of("LeakyReLU"), lambda x: x if x > 0 else 0.3 * x),
        (
            of("LeakyReLU", negative_slope=0.1, name="slope", dtype="float32"),
            lambda x: max(x, x / 10),
        ),
        (of("ELU", alpha=0.7), lambda x: x if x > 0 else 0.7 * math.expm1(x)),
        (of("tanh"), math.tanh),
        (of("tanh") | {"module": "keras.activations", "registered_name": None}, math.tanh),
    ],
)
def test_an_activation_may_be_a_config_dict(config: dict, formula: object) -> None:
    x = torch.tensor(POINTS, dtype=torch.float64)
    wanted = torch.tensor([formula(point) for point in POINTS], dtype=torch.float64)
    assert_close(activations.get(config)(x), wanted)


def test_callables_stay_and_classes_are_called() -> None:
    function = torch.tanh
    assert activations.get(function) is function
    assert isinstance(activations.get(nn.ReLU), nn.ReLU)
    assert regularizers.get(function) is function
    assert isinstance(regularizers.get(regularizers.L2), regularizers.L2)
    assert constraints.get(function) is function
    assert regularizers.get(None) is None
    assert constraints.get(None) is None


def absolute(weight: Tensor) -> float:
    return sum(abs(value) for value in weight.flatten().tolist())


def squares(weight: Tensor) -> float:
    return sum(value**2 for value in weight.flatten().tolist())


def cosines(vectors: np.ndarray) -> float:
    """The mean |cosine| of all pairs."""
    pairs = list(itertools.combinations(vectors, 2))
    total = sum(abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs)
    return total / max(len(pairs), 1)


PENALTIES = [
    *((name, lambda w: 0.01 * absolute(w)) for name in ("l1", "L1")),
    *((name, lambda w: 0.01 * squares(w)) for name in ("l2", "L2")),
    *((n, lambda w: 0.01 * (absolute(w) + squares(w))) for n in ("l1_l2", "l1l2", "L1L2")),
    (of("L1", l1=0.3), lambda w: 0.3 * absolute(w)),
    (of("L2", l2=0.3), lambda w: 0.3 * squares(w)),
    (of("l2", l2=0), lambda w: 0.0),
    (of("L1L2", l1=0.3, l2=2), lambda w: 0.3 * absolute(w) + 2 * squares(w)),
    (of("L1L2", l2=2), lambda w: 2 * squares(w)),
    *(
        (n, lambda w: 0.01 * cosines(w.numpy()))
        for n in ("OrthogonalRegularizer", "orthogonal_regularizer")
    ),
    (of("OrthogonalRegularizer", factor=2.0, mode="columns"), lambda w: 2 * cosines(w.numpy().T)),
]


@pytest.mark.parametrize(("identifier", "formula"), PENALTIES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5)])
def test_a_regularizer_computes_its_formula(
    identifier: object, formula: object, shape: tuple[int, int]
) -> None:
    weight = parts.normal(*shape)
    assert regularizers.get(identifier)(weight).item() == pytest.approx(formula(weight))


def scaled(weight: Tensor, axis: int | list[int], wanted: object) -> np.ndarray:
    values = weight.numpy()
    norms = np.sqrt((values**2).sum(axis=tuple(np.atleast_1d(axis)), keepdims=True))
    return values * np.vectorize(wanted)(norms) / (norms + 1e-7)


def bounded(norm: float) -> float:
    return 0.3 * min(max(norm, 1.5), 2) + 0.7 * norm


CONSTRAINTS = [
    *((name, lambda w: w.numpy().clip(min=0)) for name in ("non_neg", "NonNeg")),
    *((name, lambda w: scaled(w, 0, lambda n: min(n, 2))) for name in ("max_norm", "MaxNorm")),
    *((name, lambda w: scaled(w, 0, lambda n: 1.0)) for name in ("unit_norm", "UnitNorm")),
    *(
        (name, lambda w: scaled(w, 0, lambda n: min(n, 1)))
        for name in ("min_max_norm", "MinMaxNorm")
    ),
    (of("MaxNorm", max_value=0.5, axis=1), lambda w: scaled(w, 1, lambda n: min(n, 0.5))),
    (of("MaxNorm", max_value=0.5, axis=[0, 1]), lambda w: scaled(w, [0, 1], lambda n: min(n, 0.5))),
    (of("UnitNorm", axis=-1), lambda w: scaled(w, 1, lambda n: 1.0)),
    (
        of("MinMaxNorm", min_value=1.5, max_value=2, rate=0.3, axis=1),
        lambda w: scaled(w, 1, bounded),
    ),
]


@pytest.mark.parametrize(("identifier", "formula"), CONSTRAINTS)
@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0])
def test_a_constraint_computes_its_formula(
    identifier: object, formula: object, scale: float
) -> None:
    weight = scale * parts.normal(5, 3)
    assert_close(constraints.get(identifier)(weight), torch.from_numpy(formula(weight)))


@pytest.mark.parametrize("name", ["max_norm", "unit_norm", "min_max_norm"])
def test_a_norm_of_a_bias_is_that_of_all_its_numbers(name: str) -> None:
    weight = 3 * parts.normal(4)
    bound = 2.0 if name == "max_norm" else 1.0
    assert constraints.get(name)(weight).square().sum().sqrt().item() == pytest.approx(
        bound, rel=1e-6
    )


@pytest.mark.parametrize(
    ("module", "identifier", "parts_of_message"),
    [
        (activations, "rleu", ["'rleu'", "did you mean 'relu'"]),
        (activations, "glu", ["'glu'", "gelu"]),
        (activations, 3, ["3", "callable"]),
        (activations, of("PReLU"), ["'PReLU'", "relu"]),
        (activations, of("relu", alpha=1), ["config.alpha"]),
        (activations, of("LeakyReLU", alpha=1), ["config.alpha", "negative_slope"]),
        (activations, of("LeakyReLU", negative_slope=-1), ["config.negative_slope", "-1"]),
        (activations, of("ReLU", max_value="2"), ["config.max_value", "'2'"]),
        (regularizers, "l3", ["'l3'", "l2"]),
        (regularizers, "orthogonal", ["did you mean 'orthogonal_regularizer'"]),
        (regularizers, 0.01, ["0.01", "class_name"]),
        (regularizers, {"config": {"l2": 0.1}}, ["class_name"]),
        (regularizers, {"class_name": "L2", "l2": 0.1}, ["'l2'", "config"]),
        (regularizers, {"class_name": "L2", "config": 0.1}, ["config", "0.1", "dict"]),
        (regularizers, {"class_name": 2}, ["2", "l2"]),
        (regularizers, of("L2", l2=-1), ["config.l2", "-1", "from 0"]),
        (regularizers, of("L2", l2=math.nan), ["config.l2", "nan"]),
        (regularizers, of("L2", l2=True), ["config.l2", "True"]),
        (regularizers, of("L2", l1=0.1), ["config.l1", "l2"]),
        (regularizers, of("OrthogonalRegularizer", mode="row"), ["config.mode", "'row'", "'rows'"]),
        (constraints, "maxnorm", ["'maxnorm'", "did you mean 'max_norm'"]),
        (constraints, of("MaxNorm", max=2), ["config.max", "max_value"]),
        (constraints, of("MaxNorm", max_value=-2), ["config.max_value", "-2"]),
        (constraints, of("MaxNorm", axis=0.5), ["config.axis", "0.5"]),
        (constraints, of("UnitNorm", axis=[]), ["config.axis", "[]"]),
        (constraints, of("MinMaxNorm", min_value=3), ["config.max_value", "1", "3"]),
        (constraints, of("MinMaxNorm", rate=2), ["config.rate", "2", "1"]),
    ],
)
def test_what_cannot_be_meant_is_refused(
    module: object, identifier: object, parts_of_message: list[str]
) -> None:
    with fails(ConfigError, *parts_of_message):
        module.get(identifier)


def test_what_does_not_suit_a_shape_is_refused() -> None:
    with fails(ConfigError, "OrthogonalRegularizer", "(4,)"):
        regularizers.get("orthogonal_regularizer")(parts.normal(4))
    with fails(ConfigError, "config.axis", "1", "(4,)", "-1 to 0"):
        constraints.get(of("UnitNorm", axis=1))(parts.normal(4))
