"""EasyRec's embeddings of numbers against its own values and their formulas."""

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
from tzmmoe.nn.numbers import AutoDis, AutoDisEmbedding, PeriodicEmbedding

FORMS = {"output_3d_tensor": False, "output_tensor_list": False}
PERIODIC = FORMS | {
    "embedding_dim": 4,
    "sigma": 0.5,
    "add_linear_layer": True,
    "linear_activation": "relu",
}
AUTODIS = FORMS | {"embedding_dim": 4, "num_bins": 5, "keep_prob": 0.8, "temperature": 0.1}


@pytest.mark.parametrize(
    ("name", "settings"), [("periodic", {}), ("periodic_list", {"output_tensor_list": True})]
)
def test_periodic_embeddings_are_easyrecs(name: str, settings: dict) -> None:
    recording = easyrec_numbers.Recording(name)
    layer = easyrec_numbers.ready(PeriodicEmbedding(3, **PERIODIC | settings))
    with torch.no_grad():
        layer.coefficients.copy_(recording.weight("coefficients")[0])
        layer.weight.copy_(recording.weight("weights")[0])
        layer.bias.copy_(recording.weight("bias")[0])
    recording.check(layer_laws.tensors(layer(recording.inputs[0])))


def test_autodis_embeddings_are_easyrecs() -> None:
    recording = easyrec_numbers.Recording("autodis")
    layer = easyrec_numbers.ready(AutoDisEmbedding(3, **AUTODIS))
    with torch.no_grad():
        layer.meta.copy_(recording.weight("meta_embedding"))
        layer.input_weight.copy_(recording.weight("project_w")[0])
        layer.mixing.copy_(recording.weight("project_mat").transpose(1, 2))
    recording.check(layer(recording.inputs[0]))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("width", [2, 6])
@pytest.mark.parametrize("activation", [None, "", "relu"])
def test_periodic_embeddings_are_sines_then_cosines_then_a_layer(
    count: int, width: int, activation: str | None
) -> None:
    """A layer of its own for each number."""
    settings = {"embedding_dim": width, "add_linear_layer": activation is not None}
    settings |= {"linear_activation": activation or ""}
    layer, x = parts.shaken(PeriodicEmbedding(count, **PERIODIC | settings)), parts.normal(3, count)
    rows = []
    for row in x.tolist():
        out = []
        for r, value in enumerate(row):
            angles = [2 * math.pi * c * value for c in layer.coefficients[r].tolist()]
            e = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            if activation is not None:
                kernel = layer.weight[r].T.tolist()
                e = [
                    sum(w * v for w, v in zip(line, e, strict=True)) + b
                    for line, b in zip(kernel, layer.bias[r].tolist(), strict=True)
                ]
            out += [max(v, 0.0) for v in e] if activation == "relu" else e
        rows.append(out)
    assert_close(layer(x), torch.tensor(rows, dtype=torch.float64))
    assert layer.out_features == count * width
    layer_laws.check_gradients(layer, x)


@pytest.mark.parametrize(("count", "bins", "width"), [(1, 1, 1), (3, 4, 2)])
def test_autodis_embeddings_are_mixtures_of_meta_embeddings(
    count: int, bins: int, width: int
) -> None:
    settings = {"embedding_dim": width, "num_bins": bins, "keep_prob": 0.3, "temperature": 0.7}
    layer, x = parts.shaken(AutoDisEmbedding(count, **AUTODIS | settings)), parts.normal(3, count)
    rows = []
    for row in x.tolist():
        out = []
        for r, value in enumerate(row):
            raw = [w * value for w in layer.input_weight[r].tolist()]
            h = [v if v > 0 else 0.2 * v for v in raw]
            mixed = [
                sum(layer.mixing[r, c, k].item() * h[c] for c in range(bins)) + 0.3 * h[k]
                for k in range(bins)
            ]
            powers = [math.exp(m / 0.7) for m in mixed]
            out.append(sum(p / sum(powers) * m for p, m in zip(powers, layer.meta[r], strict=True)))
        rows.append(torch.cat(out))
    assert_close(layer(x), torch.stack(rows))
    assert layer.out_features == count * width
    layer_laws.check_gradients(layer, x)


@pytest.mark.parametrize(
    "make",
    [
        lambda forms: PeriodicEmbedding(3, **PERIODIC | forms),
        lambda forms: AutoDisEmbedding(3, **AUTODIS | forms),
    ],
)
def test_embeddings_also_come_as_a_list_or_stacked(make: object) -> None:
    plain = parts.shaken(make({}))
    x = parts.normal(3, 3)
    flat: Tensor = plain(x)
    for form in FORMS:
        layer = make({form: True}).double()
        layer.load_state_dict(plain.state_dict())
        whole, extra = layer(x)
        assert_close(whole, flat)
        if form == "output_tensor_list":
            assert isinstance(extra, list)
            extra = torch.stack(extra, dim=1)
        assert_close(extra, flat.view(3, 3, 4))
        layer_laws.check_laws(layer, x)
    with pytest.raises(ConfigError, match="and so is output_tensor_list; keep one"):
        make(dict.fromkeys(FORMS, True))


def test_coefficients_start_normal_and_the_rest_by_glorot_uniform_of_keras() -> None:
    """Which counts the R numbers into the fans of (R, inputs, outputs)."""
    torch.manual_seed(0)
    layer = PeriodicEmbedding(50, **PERIODIC | {"embedding_dim": 60, "sigma": 3.0})
    assert layer.coefficients.std().item() == pytest.approx(3.0, rel=0.06)
    bound = math.sqrt(6 / (50 * 120))
    assert oracles.uniform_distance(layer.weight, -bound, bound) < 1.95
    assert not layer.bias.any()
    other = AutoDisEmbedding(50, **AUTODIS | {"embedding_dim": 60, "num_bins": 40})
    fans = {"meta": 50 * 100, "mixing": 50 * 80, "input_weight": 90}
    for name, count in fans.items():
        bound = math.sqrt(6 / count)
        assert oracles.uniform_distance(getattr(other, name), -bound, bound) < 1.95


def test_the_layer_for_features_keeps_its_own_slope() -> None:
    settings = {"num_channels": 5, "temperature": 0.1, "keep_prob": 0.8}
    own, easyrecs = AutoDis(3, 4, **settings).double(), AutoDisEmbedding(3, **AUTODIS).double()
    easyrecs.load_state_dict(own.state_dict())
    x = parts.normal(3, 3)
    assert_close(own(x), oracles.auto_dis_by_loops(own, x))
    assert not torch.allclose(own(x), easyrecs(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PeriodicEmbedding(3, **PERIODIC | {"embedding_dim": 5}), "embedding_dim: is 5"),
        (lambda: PeriodicEmbedding(3, **PERIODIC | {"embedding_dim": 0}), "embedding_dim: is 0"),
        (lambda: PeriodicEmbedding(3, **PERIODIC | {"sigma": 0.0}), "sigma: is 0"),
        (
            lambda: PeriodicEmbedding(3, **PERIODIC | {"linear_activation": "rel"}),
            "linear_activation: is 'rel'",
        ),
        (lambda: AutoDisEmbedding(3, **AUTODIS | {"embedding_dim": 0}), "embedding_dim: is 0"),
        (lambda: AutoDisEmbedding(3, **AUTODIS | {"num_bins": 0}), "num_bins: is 0"),
        (lambda: AutoDisEmbedding(3, **AUTODIS | {"temperature": 0.0}), "temperature: is 0"),
    ],
)
def test_a_bad_setting_is_named(make: object, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert words in str(error.value)
