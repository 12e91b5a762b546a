"""Numbers without a table that may be missing: what a feature gives, and what models make of it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import parts
import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Inputs
from tzmmoe.errors import ConfigError
from tzmmoe.features import Feature, FeatureSettings
from tzmmoe.features.column import read
from tzmmoe.features.forms import BadValue
from tzmmoe.features.shared import Tally
from tzmmoe.jagged import Jagged
from tzmmoe.models.base import Body, Factor, TowerInputs
from tzmmoe.models.encoder import Encoder
from tzmmoe.tables.penalties import Penalty

# Without ReLU, which may make zeros of a number too.
BINS = "boundaries: [-1, 0, 2.5] piecewise_linear { activation: '' }"
WAVES = "periodic { sigma: 0.5 activation: '' }"
LAYERS = pytest.mark.parametrize("layer", [BINS, WAVES], ids=["piecewise_linear", "periodic"])
ALLOWED = 'embedding_dim: 4 default_value: ""'


def feature(text: str, mode: str = "FG_DAG") -> Feature:
    setting = FeatureSettings(mode, "\x03", "MURMUR_HASH", Path())
    return parts.features(f'raw_feature {{ feature_name: "a" {text} }}', setting=setting)[0]


def encoded(made: Feature, column: pa.Array) -> tuple[np.ndarray, Tally]:
    return made.encode([read(column, made.separator, made.weighted)])


@LAYERS
@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.5, None, float("nan"), -3.0]),
        pa.array([1.5, None, None, -3.0], pa.float32()),
        pa.array(["1.5", "", None, "-3"]),
        pa.array(["1.5", "", None, "-3"]).dictionary_encode(),
        pa.array([[1.5], [], None, [-3.0]]),
    ],
    ids=lambda column: str(column.type),
)
def test_a_missing_number_is_nan_where_it_is_allowed(layer: str, column: pa.Array) -> None:
    numbers, tally = encoded(feature(f"{layer} {ALLOWED}"), column)
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, [[1.5], [math.nan], [math.nan], [-3.0]])
    assert tally == Tally(missing=2)
    filled, tally = encoded(feature(f'{layer} embedding_dim: 4 default_value: "7"'), column)
    np.testing.assert_array_equal(filled, [[1.5], [7.0], [7.0], [-3.0]])
    assert tally == Tally(missing=2, defaulted=2)


@pytest.mark.parametrize("layer", ["", "mlp {}", "autodis { num_channels: 2 }"])
def test_other_layers_refuse_a_missing_number(layer: str) -> None:
    dim = "embedding_dim: 4" if layer else ""
    with pytest.raises(BadValue, match=r"has no value.*default_value") as raised:
        encoded(feature(f'{layer} {dim} default_value: ""'), pa.array([1.0, None]))
    assert raised.value.row == 1


@LAYERS
def test_a_formula_makes_no_number_of_a_missing_one(layer: str) -> None:
    """NaN > 0 is false, which is 0."""
    made = feature(f'{layer} {ALLOWED} normalizer: "method=expression,expr=x > 0"')
    numbers, _ = encoded(made, pa.array([5.0, None, -5.0]))
    np.testing.assert_array_equal(numbers, [[1.0], [math.nan], [0.0]])


def test_the_normalizer_comes_before_the_bins() -> None:
    made = feature(
        'boundaries: [0, 1, 3] piecewise_linear { activation: "" } normalizer: "method=log10" '
        f"{ALLOWED}"
    )
    numbers, _ = encoded(made, pa.array([1.0, 100.0, 1e30]))
    e = made.embedder().double().encoding(torch.from_numpy(numbers).double())
    assert_close(e[:, 0], torch.tensor([[0.0, 0.0], [1.0, 0.5], [1.0, 1.0]]).double())


@LAYERS
@pytest.mark.parametrize("number", [math.inf, -math.inf, 1e39])
def test_a_number_that_is_not_finite_is_refused(layer: str, number: float) -> None:
    with pytest.raises(BadValue, match="finite 32-bit"):
        encoded(feature(f"{layer} {ALLOWED}"), pa.array([None, number]))


@LAYERS
@pytest.mark.parametrize("value_dim", [1, 3])
def test_each_of_several_numbers_has_its_own_embedding(layer: str, value_dim: int) -> None:
    made = feature(f"{layer} {ALLOWED} value_dim: {value_dim}")
    assert made.width == 4 * value_dim
    column = pa.array([[0.5] * value_dim, None, [2.0] * value_dim])
    numbers, _ = encoded(made, column)
    embedded = made.embedder()(torch.from_numpy(numbers))
    assert embedded.shape == (3, made.width)
    assert not embedded[1].any()
    by_number = embedded[0].view(value_dim, 4)
    assert len(by_number.unique(dim=0)) == value_dim


def test_finished_numbers_may_be_missing_too() -> None:
    made = feature(f"{WAVES} embedding_dim: 4", "FG_NONE")
    numbers, _ = encoded(made, pa.array(["0.5", ""]))
    np.testing.assert_array_equal(numbers, [[0.5], [math.nan]])


def test_bins_act_under_fg_bucketize() -> None:
    made = feature(f"{BINS} embedding_dim: 4", "FG_BUCKETIZE")
    assert made.table is None
    numbers, _ = encoded(made, pa.array([0.5, None]))
    np.testing.assert_array_equal(numbers, [[0.5], [0.0]])


@pytest.mark.parametrize(
    ("fields", "mode", "text"),
    [
        ("piecewise_linear {} embedding_dim: 4", "FG_DAG", "boundaries: is not set.*2 or more"),
        ("boundaries: 1 piecewise_linear {} embedding_dim: 4", "FG_DAG", "boundaries: is one"),
        ("boundaries: [1, 0] piecewise_linear {}", "FG_DAG", "boundaries: .*increasing"),
        ("boundaries: [1, 1] piecewise_linear {}", "FG_DAG", "boundaries: .*increasing"),
        (BINS, "FG_DAG", "embedding_dim: is not set"),
        (f"{BINS} embedding_dim: 4", "FG_NONE", "piecewise_linear: .*FG_NONE.*FG_DAG"),
        (WAVES, "FG_DAG", "embedding_dim: is not set"),
        ("periodic {} embedding_dim: 4", "FG_DAG", "periodic.sigma: is not set"),
        (
            "periodic { sigma: 1 frequencies: 0 } embedding_dim: 4",
            "FG_DAG",
            "periodic.frequencies: is 0",
        ),
        (f"{WAVES} embedding_dim: 4 boundaries: [0, 1]", "FG_DAG", "periodic: .*boundaries"),
        (
            'periodic { sigma: 1 activation: "Dice" } embedding_dim: 4',
            "FG_DAG",
            "periodic.activation: is 'Dice'",
        ),
        (
            'boundaries: [0, 1] piecewise_linear { activation: "relu" } embedding_dim: 4',
            "FG_DAG",
            r"piecewise_linear.activation: 'relu'.*nn\.ReLU",
        ),
    ],
)
def test_a_setting_without_a_meaning_is_refused_by_its_field(
    fields: str, mode: str, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        feature(fields, mode)


class Reader(Body):
    """Reads groups, factors and plain numbers."""

    def __init__(self, **read: Mapping[str, object]) -> None:
        super().__init__()
        self.groups = read.get("groups", {})
        self.factors, self.numbers = read.get("factors", {}), read.get("numbers", {})

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        return TowerInputs(list(inputs.values()))


def encoder(texts: Sequence[str], regularization: float = 0.0, **read: object) -> Encoder:
    setting = FeatureSettings("FG_DAG", "\x03", "MURMUR_HASH", Path())
    features = parts.features(*texts, setting=setting)
    return parts.shaken(Encoder(features, Reader(**read), seed=3, regularization=regularization))


FEATURES = [
    f'raw_feature {{ feature_name: "bins" {ALLOWED} {BINS} }}',
    'raw_feature { feature_name: "plain" }',
    f'raw_feature {{ feature_name: "waves" value_dim: 2 {ALLOWED} {WAVES} }}',
]
NUMBERS = torch.tensor(
    [[0.5, 1.0, 2.0, -1.0], [math.nan, 2.0, 0.1, 0.2], [1.5, 3.0, math.nan, math.nan]],
    dtype=torch.float64,
)
NAMES = ["bins", "plain", "waves"]


def test_a_group_holds_zeros_where_a_number_is_missing_and_its_penalty_none_of_them() -> None:
    model = encoder(FEATURES, regularization=0.5, groups={"all": NAMES})
    joined = model(Inputs({}, NUMBERS))
    bins, plain, waves = joined["all"].split([4, 1, 8], dim=1)
    assert torch.equal(plain, NUMBERS[:, 1:2])
    assert bins.any(dim=1).tolist() == [True, False, True]
    assert waves.any(dim=1).tolist() == [True, True, False]
    embedded = bins.square().sum() + waves.square().sum()
    assert_close(model.embedding_penalty(joined).double(), 0.25 * embedded, rtol=1e-5, atol=0)


def test_in_a_factor_a_missing_number_has_no_vector_and_gradients_stay_finite() -> None:
    """A number's vector is multiplied by it, for wide sides and factorization machines."""
    none = Penalty(0.0, 0.0)
    model = encoder(FEATURES, factors={"wide": Factor(NAMES, 3, None, none)})
    found = model(Inputs({}, NUMBERS))["wide"]
    weight = model.factors["wide"].vectors.weight
    wanted = torch.stack(
        [
            torch.stack([torch.zeros(3).double() if math.isnan(x) else x * w for x, w in pairs])
            for pairs in (zip(row, weight, strict=True) for row in NUMBERS.tolist())
        ]
    )
    assert_close(found, wanted)
    found.square().sum().backward()
    assert weight.grad.isfinite().all()


def test_a_number_that_is_read_as_it_is_may_not_be_missing() -> None:
    with pytest.raises(ConfigError, match=r"'bins', 'waves'|'bins' and 'waves'") as raised:
        encoder(FEATURES, numbers={"numbers": NAMES})
    assert "default_value" in str(raised.value)
    encoder(FEATURES[1:2], numbers={"numbers": ["plain"]})


def test_a_batch_of_ids_beside_missing_numbers_learns_finite_tables() -> None:
    texts = ['id_feature { feature_name: "id" num_buckets: 3 embedding_dim: 4 }', *FEATURES]
    setting = FeatureSettings("FG_DAG", "\x03", "MURMUR_HASH", Path())
    features = parts.features(*texts, setting=setting)
    model = Encoder(features, Reader(groups={"all": ["id", *NAMES]}), seed=3)
    for tables in model.tables.values():
        tables.fill()
    batch = Inputs({4: Jagged(torch.tensor([0, 1, 2]))}, NUMBERS.float())
    model(batch)["all"].square().sum().backward()
    for parameter in model.parameters():
        grad = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
        assert grad.isfinite().all()
        assert grad.any()
