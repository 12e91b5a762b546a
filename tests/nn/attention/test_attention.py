"""Attention with and without heads against loops over places; EasyRec's numbers where it has any
(its MultiHeadAttention fails)."""

import math
from collections.abc import Sequence

import easyrec_numbers
import layer_laws
import parts
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.attention.dot_product import Attention
from tzmmoe.nn.attention.multi_head import MultiHeadAttention

PLAIN = {
    "use_scale": False,
    "scale_by_dim": False,
    "score_mode": "dot",
    "dropout": 0.0,
    "return_attention_scores": True,
    "use_causal_mask": False,
}
HEADS = {
    "num_heads": 2,
    "key_dim": 3,
    "value_dim": None,
    "dropout": 0.0,
    "use_bias": True,
    "return_attention_scores": True,
    "use_causal_mask": False,
    "output_shape": None,
    "attention_axes": (),
}


def inputs(widths: Sequence[int], places: tuple[int, int] = (2, 4), rows: int = 3) -> list[Tensor]:
    """Query, value and key."""
    counts = (places[0], places[1], places[1])
    return [
        parts.normal(rows, count, width, seed=seed)
        for seed, (count, width) in enumerate(zip(counts, widths, strict=False))
    ]


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def test_the_output_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("attention")
    settings = {"scale_by_dim": True, "return_attention_scores": False}
    recording.check(Attention([4, 4, 4], **PLAIN | settings)(recording.inputs))


@pytest.mark.parametrize("mode", ["dot", "concat"])
@pytest.mark.parametrize("scale", ["", "use_scale", "scale_by_dim"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("places", [(1, 1), (2, 4), (4, 2)])
@pytest.mark.parametrize("has_key", [False, True])
def test_places_of_the_value_are_weighed_by_their_scores(
    mode: str, scale: str, is_causal: bool, places: tuple[int, int], has_key: bool
) -> None:
    if mode == "concat" and scale == "scale_by_dim":
        return
    settings = {"score_mode": mode, "use_causal_mask": is_causal} | ({scale: True} if scale else {})
    widths = [3, 5, 3] if has_key else [3, 3]
    layer, given = parts.shaken(Attention(widths, **PLAIN | settings)), inputs(widths, places)
    query, value, key = given if has_key else (*given, given[1])
    factor = {"": 1.0, "scale_by_dim": 1 / math.sqrt(3)}.get(scale)
    factor = layer.scale.item() if factor is None else factor
    wanted, weights = torch.zeros(3, places[0], value.shape[2]).double(), []
    for b in range(3):
        for i in range(places[0]):
            scores = []
            for j in range(places[1]):
                q, k = query[b, i].tolist(), key[b, j].tolist()
                if is_causal and j > i:
                    scores.append(-math.inf)
                elif mode == "dot":
                    scores.append(factor * sum(x * y for x, y in zip(q, k, strict=True)))
                else:
                    sums = sum(math.tanh(factor * (x + y)) for x, y in zip(q, k, strict=True))
                    scores.append(layer.concat_weight.item() * sums)
            weights.append(softmax(scores))
            for j, weight in enumerate(weights[-1]):
                wanted[b, i] += weight * value[b, j]
    found, shares = layer(given)
    assert_close(found, wanted)
    assert_close(shares.flatten(0, 1), torch.tensor(weights, dtype=torch.float64))
    assert layer.out_features == value.shape[2]
    layer_laws.check_gradients(layer, inputs(widths, places, rows=1))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("places", [(1, 1), (2, 4)])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"num_heads": 1, "value_dim": 5}, {"num_heads": 3, "output_shape": 7}]
)
def test_heads_weigh_projected_places_and_are_joined(
    is_causal: bool, places: tuple[int, int], use_bias: bool, settings: dict
) -> None:
    widths, settings = [4, 6, 5], settings | {"use_bias": use_bias, "use_causal_mask": is_causal}
    layer, given = (
        parts.shaken(MultiHeadAttention(widths, **HEADS | settings)),
        inputs(widths, places),
    )
    count = (HEADS | settings)["num_heads"]
    value_dim = settings.get("value_dim") or 3
    rows, shares = [], []
    for query, value, key in zip(*given, strict=True):
        heads = []
        for head in range(count):
            q = [apart(layer.query, head, 3, x) for x in query]
            k = [apart(layer.key, head, 3, x) for x in key]
            v = [apart(layer.value, head, value_dim, x) for x in value]
            for i, own in enumerate(q):
                scores = [
                    -math.inf if is_causal and j > i else (own @ k[j]).item() / math.sqrt(3)
                    for j in range(len(k))
                ]
                weights = softmax(scores)
                shares.append(weights)
                heads.append(sum(w * x for w, x in zip(weights, v, strict=True)))
        joined = [torch.cat(heads[i :: len(q)]) for i in range(len(q))]
        rows.append(torch.stack([whole(layer.output, x) for x in joined]))
    found, weights = layer(given)
    assert_close(found, torch.stack(rows))
    assert_close(weights.flatten(0, 2), torch.tensor(shares, dtype=torch.float64))
    assert layer.out_features == (settings.get("output_shape") or 4)


def apart(linear: nn.Linear, head: int, width: int, x: Tensor) -> Tensor:
    part = slice(head * width, (head + 1) * width)
    y = linear.weight[part] @ x
    return y if linear.bias is None else y + linear.bias[part]


def whole(linear: nn.Linear, x: Tensor) -> Tensor:
    return linear.weight @ x + (0 if linear.bias is None else linear.bias)


def test_heads_equal_those_of_torch() -> None:
    """Which holds the same projections in one matrix."""
    settings = {"num_heads": 2, "key_dim": 3, "return_attention_scores": False}
    layer = parts.shaken(MultiHeadAttention([6, 6, 6], **HEADS | settings))
    other = nn.MultiheadAttention(6, 2, batch_first=True).double()
    names = (layer.query, layer.key, layer.value)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([part.weight for part in names]))
        other.in_proj_bias.copy_(torch.cat([part.bias for part in names]))
        other.out_proj.load_state_dict(layer.output.state_dict())
    query, value, key = inputs([6, 6, 6])
    assert_close(layer([query, value, key]), other(query, key, value, need_weights=False)[0])


def test_projections_start_by_glorot_uniform_of_keras() -> None:
    """Its kernel (inputs, heads, width) has fans of inputs times heads and inputs times width; that
    of the output (heads, width, out), of heads times width and heads times out."""
    torch.manual_seed(0)
    layer = MultiHeadAttention([60, 60], **HEADS | {"num_heads": 8, "key_dim": 40})
    bounds = {"query": 60 * (8 + 40), "key": 60 * (8 + 40), "output": 8 * (40 + 60)}
    for name, fans in bounds.items():
        bound, part = math.sqrt(6 / fans), getattr(layer, name)
        assert 0.99 * bound < part.weight.abs().max() <= bound
        assert not part.bias.any()


@pytest.mark.parametrize("is_causal", [False, True])
def test_they_obey_the_laws_of_layers(is_causal: bool) -> None:
    given = inputs([4, 6, 4])
    settings = {"use_causal_mask": is_causal, "dropout": 0.5}
    layer_laws.check_laws(parts.shaken(Attention([4, 6, 4], **PLAIN | settings)), given)
    heads = parts.shaken(MultiHeadAttention([4, 6, 4], **HEADS | settings))
    layer_laws.check_laws(heads, given)
    layer_laws.check_gradients(heads, inputs([4, 6, 4], rows=1))


@pytest.mark.parametrize("make", [Attention, MultiHeadAttention])
def test_dropout_zeroes_weights_and_scales_the_others(make: type) -> None:
    """In training the mean over many draws is that of evaluation."""
    torch.manual_seed(0)
    settings = {Attention: PLAIN, MultiHeadAttention: HEADS}[make] | {"dropout": 0.5}
    settings |= {"return_attention_scores": False}
    layer, given = make([4, 4], **settings).double(), inputs([4, 4], rows=1)
    many = layer([x.expand(20_000, -1, -1) for x in given])
    assert_close(many.mean(dim=0, keepdim=True), layer.eval()(given), atol=0.05, rtol=0)
    assert many.std(dim=0).min() > 0.01


@pytest.mark.parametrize(
    ("make", "widths", "settings", "words"),
    [
        (Attention, [4], {}, "gets 1 input; it needs a list of a query, a value"),
        (Attention, [4, 5], {}, "query of width 4 and a key of width 5"),
        (Attention, [4, 4], {"score_mode": "dott"}, "did you mean 'dot'?"),
        (Attention, [4, 4], {"dropout": 1.0}, "dropout: is 1; give 0 to below 1"),
        (Attention, [4, 4], {"use_scale": True, "scale_by_dim": True}, "no effect with use_scale"),
        (Attention, [4, 4], {"score_mode": "concat", "scale_by_dim": True}, "'concat'; keep one"),
        (MultiHeadAttention, [4] * 4, {}, "gets 4 inputs"),
        (MultiHeadAttention, [4, 4], {"num_heads": 0}, "num_heads: is 0"),
        (MultiHeadAttention, [4, 4], {"value_dim": 0}, "value_dim: is 0"),
        (MultiHeadAttention, [4, 4], {"attention_axes": [2]}, "attention_axes: is [2]"),
    ],
)
def test_a_bad_setting_or_shape_is_named(
    make: type, widths: list[int], settings: dict, words: str
) -> None:
    plain = PLAIN if make is Attention else HEADS
    with pytest.raises(ConfigError) as error:
        make(widths, **plain | settings)
    assert words in str(error.value)


def test_a_key_of_other_places_than_the_value_is_named() -> None:
    query, value, key = inputs([4, 4, 4])
    with pytest.raises(ConfigError, match="value of 4 places and a key of 3"):
        Attention([4, 4, 4], **PLAIN)([query, value, key[:, :3]])
