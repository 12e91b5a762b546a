"""PPNet, Highway and Gate against EasyRec's numbers and their formulas."""

import math
from collections.abc import Callable

import easyrec_numbers
import layer_laws
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.gated.gate import Gate
from tzmmoe.nn.gated.highway import Highway
from tzmmoe.nn.gated.ppnet import GateNN, PPNet

GATE = {
    "output_dim": None,
    "hidden_dim": None,
    "activation": "relu",
    "use_bn": False,
    "dropout_rate": 0.0,
}
PPNET = {
    "mlp": parts.KERAS_MLP | {"hidden_units": [6, 4]},
    "gate_params": GATE,
    "mode": "eager",
    "full_gate_input": True,
}
HIGHWAY = {
    "emb_size": 4,
    "activation": "relu",
    "dropout_rate": 0.0,
    "init_gate_bias": -3.0,
    "num_layers": 1,
}


def pair(rows: int = 3) -> list[Tensor]:
    return [parts.normal(rows, 5), parts.normal(rows, 3, seed=1)]


@pytest.mark.parametrize(
    ("name", "settings", "first"),
    [
        ("ppnet", {"gate_params": GATE | {"output_dim": 5}, "full_gate_input": False}, 0),
        ("ppnet_lazy", {"gate_params": GATE | {"hidden_dim": 7}, "mode": "lazy"}, 1),
    ],
)
def test_ppnet_is_easyrecs(name: str, settings: dict, first: int) -> None:
    recording = easyrec_numbers.Recording(name)
    net = easyrec_numbers.ready(PPNet([5, 3], **PPNET | settings))
    recording.mlp(net.mlp.network, "")
    for index, gate in enumerate(net.gates):
        prefix = f"gate_{index + first}/"
        dense = "dense" if index == 0 else f"dense_{index}"
        hidden = gate.hidden.linear
        with torch.no_grad():
            hidden.weight[0].copy_(recording.weight(f"{prefix}{dense}/kernel").T)
            hidden.bias[0].copy_(recording.weight(f"{prefix}{dense}/bias"))
        recording.linear(gate.final, f"{prefix}weight")
    recording.check(net(recording.inputs))


def gate_by_units(gate: GateNN, guide: Tensor) -> Tensor:
    """In evaluation mode, with relu."""
    linear, norm, rows = gate.hidden.linear, gate.hidden.norm, []
    for row in guide:
        hidden = []
        for unit, line in enumerate(linear.weight[0]):
            y = (line * row).sum() + (0 if linear.bias is None else linear.bias[0, unit])
            if norm is not None:
                y = (y - norm.running_mean[unit]) / (norm.running_var[unit] + 0.001).sqrt()
                y = y * norm.weight[unit] + norm.bias[unit]
            hidden.append(max(y.item(), 0.0))
        final = gate.final
        shifts = [0.0] * len(final.weight) if final.bias is None else final.bias.tolist()
        sums = [
            sum(w * h for w, h in zip(line.tolist(), hidden, strict=True)) + shift
            for line, shift in zip(final.weight, shifts, strict=True)
        ]
        rows.append([2 / (1 + math.exp(-y)) for y in sums])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("mode", ["eager", "lazy"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("use_bn", [False, True])
@pytest.mark.parametrize("hidden_dim", [None, 2])
@pytest.mark.parametrize("rows", [1, 3])
def test_gates_scale_what_a_layer_gets_or_gives(
    mode: str, full: bool, use_bn: bool, hidden_dim: int | None, rows: int
) -> None:
    settings = {
        "mode": mode,
        "full_gate_input": full,
        "gate_params": GATE | {"use_bn": use_bn, "hidden_dim": hidden_dim},
    }
    net, (x, guide) = parts.shaken(PPNet([5, 3], **PPNET | settings)).eval(), pair(rows)
    gates_input = torch.cat([x, guide], dim=1) if full else guide
    wanted = x
    for layer, gate in zip(net.mlp.network.layers, net.gates, strict=True):
        factors = gate_by_units(gate, gates_input)
        wanted = wanted * factors if mode == "eager" else wanted
        wanted = layer(wanted)[:, 0]
        wanted = wanted * factors if mode == "lazy" else wanted
    assert_close(net([x, guide]), wanted)
    assert [gate.final.bias is None for gate in net.gates] == [use_bn] * 2


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_the_gates_do_not_train_the_first_input(mode: str) -> None:
    """Where the gates get x alone, the gradient is that of gates held at their values."""
    net = parts.shaken(PPNet([5, 3], **PPNET | {"mode": mode})).eval()
    x, guide = pair()
    found = torch.autograd.grad(net([x.requires_grad_(), guide]).sum(), x)[0]
    gates = [gate(torch.cat([x, guide], dim=1)).detach() for gate in net.gates]
    y = x
    for layer, factors in zip(net.mlp.network.layers, gates, strict=True):
        y = layer(y * factors)[:, 0] if mode == "eager" else layer(y)[:, 0] * factors
    assert_close(found, torch.autograd.grad(y.sum(), x)[0])


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_ppnet_obeys_the_laws_of_layers(mode: str) -> None:
    settings = {"mode": mode, "gate_params": GATE | {"use_bn": True, "dropout_rate": 0.5}}
    net = parts.shaken(PPNet([5, 3], **PPNET | settings))
    layer_laws.check_laws(net, pair())
    plain = parts.shaken(PPNet([5, 3], **PPNET | {"mode": mode, "full_gate_input": False}))
    layer_laws.check_gradients(plain, pair())


def test_gates_start_by_he_uniform_and_zeros() -> None:
    torch.manual_seed(0)
    gate = GateNN(300, 200, **{k: v for k, v in GATE.items() if k != "output_dim"})
    for kernel, fan in ((gate.hidden.linear.weight, 300), (gate.final.weight, 200)):
        bound = math.sqrt(6 / fan)
        assert 0.99 * bound < kernel.abs().max() <= bound
    assert not gate.hidden.linear.bias.any()
    assert not gate.final.bias.any()


@pytest.mark.parametrize(
    ("widths", "settings", "words"),
    [
        ([5], {}, "gets 1 input; it needs two"),
        ([5, 3], {"mode": "eagre"}, "did you mean 'eager'?"),
        ([5, 3], {"gate_params": GATE | {"output_dim": 6}}, "gate_params.output_dim: is 6"),
        ([5, 3], {"gate_params": GATE | {"hidden_dim": 0}}, "gate_params.hidden_dim: is 0"),
        ([5, 3], {"gate_params": GATE | {"activation": "x"}}, "gate_params.activation: is 'x'"),
        ([5, 3], {"gate_params": GATE | {"dropout_rate": 1.0}}, "gate_params.dropout_rate: is"),
        ([5, 3], {"mlp": parts.KERAS_MLP | {"hidden_units": []}}, "mlp.hidden_units: is []"),
    ],
)
def test_a_bad_setting_or_shape_of_ppnet_is_named(
    widths: list[int], settings: dict, words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        PPNet(widths, **PPNET | settings)
    assert words in str(error.value)


def test_highway_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("highway")
    layer = easyrec_numbers.ready(Highway(5, **HIGHWAY))
    recording.linear(layer.project, "input_projection")
    recording.linear(layer.gates[0], "gate_0")
    recording.linear(layer.transforms[0], "dense")
    recording.check(layer(recording.inputs[0]))


@pytest.mark.parametrize(
    ("name", "function"), [("relu", lambda x: max(x, 0.0)), ("tanh", math.tanh)]
)
@pytest.mark.parametrize("emb_size", [None, 5, 3, 1])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_highway_mixes_a_layer_with_its_input(
    name: str, function: Callable[[float], float], emb_size: int | None, num_layers: int
) -> None:
    settings = {"activation": name, "emb_size": emb_size, "num_layers": num_layers}
    layer, x = parts.shaken(Highway(5, **HIGHWAY | settings)), parts.normal(3, 5)
    assert (layer.project is None) == (emb_size in (None, 5))
    rows = []
    for row in x:
        value = row
        if layer.project is not None:
            value = layer.project.weight @ row + layer.project.bias
        for gate, transform in zip(layer.gates, layer.transforms, strict=True):
            shares = [1 / (1 + math.exp(-y)) for y in (gate.weight @ value + gate.bias).tolist()]
            raw = (transform.weight @ value + transform.bias).tolist()
            value = torch.tensor(
                [
                    t * function(h) + (1 - t) * v
                    for t, h, v in zip(shares, raw, value.tolist(), strict=True)
                ],
                dtype=torch.float64,
            )
        rows.append(value)
    assert_close(layer(x), torch.stack(rows))
    layer_laws.check_gradients(layer, x)


def test_highway_starts_by_glorot_and_its_gates_bias() -> None:
    torch.manual_seed(0)
    layer = Highway(300, **HIGHWAY | {"emb_size": 200})
    for kernel, fans in ((layer.project.weight, 500), (layer.gates[0].weight, 400)):
        bound = math.sqrt(6 / fans)
        assert 0.99 * bound < kernel.abs().max() <= bound
    assert (layer.gates[0].bias == -3).all()
    assert not layer.transforms[0].bias.any()


@pytest.mark.parametrize("activation", ["gelu", "dice"])
def test_highway_obeys_the_laws_of_layers(activation: str) -> None:
    settings = {"activation": activation, "num_layers": 2, "dropout_rate": 0.5}
    layer_laws.check_laws(parts.shaken(Highway(5, **HIGHWAY | settings)), parts.normal(3, 5))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"emb_size": 0}, "emb_size: is 0"),
        ({"num_layers": 0}, "num_layers: is 0"),
        ({"activation": "rleu"}, "activation: is 'rleu'"),
        ({"dropout_rate": -0.5}, "dropout_rate: is -0.5; give 0 to below 1"),
    ],
)
def test_a_bad_setting_of_highway_is_named(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        Highway(5, **HIGHWAY | settings)
    assert words in str(error.value)


def test_gate_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("gate")
    recording.check(Gate([3, 4, 4, 4], weight_index=0, mlp=None)(recording.inputs))


@pytest.mark.parametrize("weight_index", [0, 1, 3])
@pytest.mark.parametrize("mlp", [None, parts.KERAS_MLP])
def test_gate_sums_its_other_inputs_by_their_weights(weight_index: int, mlp: dict | None) -> None:
    others = [parts.normal(3, 5, seed=seed) for seed in (1, 2, 3)]
    weights = parts.normal(3, 3)
    inputs = [*others[:weight_index], weights, *others[weight_index:]]
    gate = Gate([x.shape[1] for x in inputs], weight_index=weight_index, mlp=mlp)
    gate = parts.shaken(gate).eval()
    wanted = torch.zeros(3, 5, dtype=torch.float64)
    for b in range(3):
        for j, other in enumerate(others):
            wanted[b] += weights[b, j] * other[b]
    wanted = gate.mlp(wanted) if mlp else wanted
    assert_close(gate(inputs), wanted)
    assert gate.out_features == wanted.shape[1]
    layer_laws.check_laws(gate, inputs)
    layer_laws.check_gradients(gate, inputs)


@pytest.mark.parametrize(
    ("widths", "index", "words"),
    [
        ([1], 0, "gets 1 input; it needs the weights and one or more"),
        ([3, 4, 4], 0, "inputs[0] holds 3 weights in each row for 2 other inputs"),
        ([4, 4, 2], 3, "weight_index: is 3, but there are 3 inputs; give 0 to 2"),
        ([2, 4, 5], 0, "inputs[0] has 4, inputs[1] has 5; leaving out the weights"),
    ],
)
def test_a_bad_index_or_shape_of_gate_is_named(widths: list[int], index: int, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        Gate(widths, weight_index=index, mlp=None)
    assert words in str(error.value)
