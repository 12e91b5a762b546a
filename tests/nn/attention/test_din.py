"""DIN against EasyRec's numbers and a loop over places."""

import math

import easyrec_numbers
import layer_laws
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.attention.din import DIN

MLP = parts.KERAS_MLP | {"hidden_units": [6, 1]}
PLAIN = {"attention_dnn": MLP, "need_target_feature": True, "attention_normalizer": "softmax"}


def inputs(target: int = 4, rows: int = 4) -> list[Tensor]:
    lengths = torch.tensor([5, 1, 0, 3])[:rows]
    return [parts.normal(rows, 5, 4), lengths, parts.normal(rows, target, seed=1)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("din", {}),
        ("din_sigmoid", {"attention_normalizer": "sigmoid", "need_target_feature": False}),
    ],
)
def test_the_output_is_easyrecs(name: str, settings: dict) -> None:
    recording = easyrec_numbers.Recording(name)
    layer = easyrec_numbers.ready(DIN([4, 4], **PLAIN | settings))
    recording.mlp(layer.mlp.network, "din_attention")
    recording.check(layer(recording.inputs))


@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
@pytest.mark.parametrize("needs_target", [False, True])
@pytest.mark.parametrize("target", [4, 2])
@pytest.mark.parametrize("rows", [1, 4])
def test_places_up_to_the_length_are_weighed_against_the_target(
    normalizer: str, needs_target: bool, target: int, rows: int
) -> None:
    """A softmax over no place at all is the mean over the padding, as in EasyRec."""
    settings = {"attention_normalizer": normalizer, "need_target_feature": needs_target}
    layer, given = parts.shaken(DIN([4, target], **PLAIN | settings)).eval(), inputs(target, rows)
    wanted = []
    for keys, length, query in zip(*given, strict=True):
        q = torch.cat([query, torch.zeros(4 - target, dtype=torch.float64)])
        scores = [layer.mlp(torch.cat([q, k, q - k, q * k]).unsqueeze(0)).item() for k in keys]
        inside = [place < length for place in range(len(keys))]
        if normalizer == "sigmoid":
            weights = [
                1 / (1 + math.exp(-s / 2)) if near else 0.0
                for s, near in zip(scores, inside, strict=True)
            ]
        else:
            powers = [math.exp(s) if near else 0.0 for s, near in zip(scores, inside, strict=True)]
            powers = powers if length else [1.0] * len(keys)
            weights = [power / sum(powers) for power in powers]
        pooled = sum(w * k for w, k in zip(weights, keys, strict=True))[:target]
        wanted.append(torch.cat([pooled, q]) if needs_target else pooled)
    assert_close(layer(given), torch.stack(wanted))
    assert layer.out_features == len(wanted[0])


def test_its_last_layer_has_a_bias_and_neither_norm_nor_activation() -> None:
    last = DIN([4, 4], **PLAIN).mlp.network.layers[-1]
    assert (last.norm, last.activation) == (None, None)
    assert last.linear.bias is not None


@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
def test_it_obeys_the_laws_of_layers(normalizer: str) -> None:
    layer = parts.shaken(DIN([4, 2], **PLAIN | {"attention_normalizer": normalizer}))
    layer_laws.check_laws(layer, inputs(2))
    layer_laws.check_gradients(layer, inputs(2))


def test_padding_has_no_weight_in_half_precision() -> None:
    layer = DIN([4, 4], **PLAIN | {"need_target_feature": False}).half().eval()
    keys, lengths, target = inputs()
    cut = [keys[1:2, :1].half(), lengths[1:2], target[1:2].half()]
    full = [keys[1:2].half(), lengths[1:2], target[1:2].half()]
    assert_close(layer(full), layer(cut))


@pytest.mark.parametrize(
    ("widths", "settings", "words"),
    [
        ([4, 5], {}, "target of width 5 and a sequence of 4"),
        ([4], {}, "gets 1 input; it needs a sequence with its lengths, and a target"),
        ([4, 4], {"attention_normalizer": "softmx"}, "did you mean 'softmax'?"),
        (
            [4, 4],
            {"attention_dnn": MLP | {"hidden_units": [6, 2]}},
            "attention_dnn.hidden_units: is [6, 2]",
        ),
        ([4, 4], {"attention_dnn": MLP | {"hidden_units": []}}, "attention_dnn.hidden_units: is"),
    ],
)
def test_a_bad_setting_or_shape_is_named(widths: list[int], settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        DIN(widths, **PLAIN | settings)
    assert words in str(error.value)
