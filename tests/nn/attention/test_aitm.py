"""AITM against EasyRec's numbers and attention in full, of which one row is kept."""

import math

import easyrec_numbers
import layer_laws
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.attention.aitm import AITMTower

PLAIN = {"project_dim": None, "transfer_mlp": None, "stop_gradient": True}
MLP = parts.KERAS_MLP | {"hidden_units": [4]}


def towers(widths: list[int], rows: int = 3) -> list[Tensor]:
    return [parts.normal(rows, width, seed=index) for index, width in enumerate(widths)]


def test_the_output_is_easyrecs() -> None:
    """Queries of the other towers cannot reach it; ours has none."""
    recording = easyrec_numbers.Recording("aitm")
    layer = easyrec_numbers.ready(AITMTower([4, 4], **PLAIN | {"transfer_mlp": MLP}))
    recording.linear(layer.query, "query_0")
    for index in range(2):
        recording.linear(layer.keys[index], f"key_{index}")
        recording.linear(layer.values[index], f"value_{index}")
    recording.mlp(layer.transfer.network, "transfer")
    recording.skip("query_1/kernel", "query_1/bias")
    recording.check(layer(recording.inputs))


@pytest.mark.parametrize("project_dim", [None, 1, 6])
@pytest.mark.parametrize(
    ("widths", "mlp"), [([4], None), ([4, 3, 5], None), ([4, 3, 3], MLP), ([4], MLP)]
)
@pytest.mark.parametrize("rows", [1, 3])
def test_the_own_towers_query_weighs_all_towers(
    project_dim: int | None, widths: list[int], mlp: dict | None, rows: int
) -> None:
    layer = AITMTower(widths, **PLAIN | {"project_dim": project_dim, "transfer_mlp": mlp})
    layer, inputs, dim = parts.shaken(layer).eval(), towers(widths, rows), project_dim or 4
    sources = inputs[:1] + [layer.transfer(x) if mlp else x for x in inputs[1:]]
    wanted = []
    for b in range(rows):
        q = layer.query.weight @ inputs[0][b] + layer.query.bias
        keys = [k.weight @ u[b] + k.bias for k, u in zip(layer.keys, sources, strict=True)]
        values = [v.weight @ u[b] + v.bias for v, u in zip(layer.values, sources, strict=True)]
        powers = [math.exp((q @ key).item() / math.sqrt(dim)) for key in keys]
        wanted.append(sum(p / sum(powers) * v for p, v in zip(powers, values, strict=True)))
    assert_close(layer(inputs), torch.stack(wanted))
    assert layer.out_features == dim


@pytest.mark.parametrize("stops", [False, True])
def test_stop_gradient_keeps_the_other_towers_from_being_trained(stops: bool) -> None:
    layer = AITMTower([4, 4, 4], **PLAIN | {"transfer_mlp": MLP, "stop_gradient": stops})
    layer, inputs = parts.shaken(layer).eval(), [x.requires_grad_() for x in towers([4, 4, 4])]
    layer(inputs).sum().backward()
    assert inputs[0].grad.any()
    assert [x.grad is None for x in inputs[1:]] == [stops] * 2
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_it_obeys_the_laws_of_layers() -> None:
    settings = PLAIN | {"transfer_mlp": MLP, "stop_gradient": False}
    layer = parts.shaken(AITMTower([4, 3, 3], **settings))
    layer_laws.check_laws(layer, towers([4, 3, 3]))
    layer_laws.check_gradients(layer, towers([4, 3, 3]))


@pytest.mark.parametrize(
    ("widths", "settings", "words"),
    [
        ([], {}, "gets 0 inputs"),
        ([4, 3, 5], {"transfer_mlp": MLP}, "leaving out the first, transfer_mlp needs one width"),
        ([4, 4], {"project_dim": 0}, "project_dim: is 0"),
        ([4, 4], {"transfer_mlp": MLP | {"hidden_units": []}}, "transfer_mlp.hidden_units: is"),
    ],
)
def test_a_bad_setting_or_shape_is_named(widths: list[int], settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        AITMTower(widths, **PLAIN | settings)
    assert words in str(error.value)
