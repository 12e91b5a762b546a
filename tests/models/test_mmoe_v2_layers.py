"""Layers of MMoE V2: which setting is whose, in which order they act, and how they start."""

import math
from typing import Any

import numpy as np
import oracles
import parts
import pytest
import torch
from models.oracle_mmoe_v2 import Oracle
from models.small_v2 import GROUPS, KINDS, SMALL, inputs, logits, rows, shaken_v2, v2
from torch.testing import assert_close

from tzmmoe.build import Built
from tzmmoe.nn.activations import keras_activation
from tzmmoe.nn.mlp import Network
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.run.state import weights

# As the specification lists them, and those that Keras has beside.
ACTIVATIONS = ["relu", "leaky_relu", "selu", "sigmoid", "tanh", "dice", "prelu", "none"]
ACTIVATIONS += ["gelu", "swish", "elu"]
# A list, and what each of three layers has of it.
ACTS = [
    ([], ["relu"] * 3),
    (["tanh"], ["tanh"] * 3),
    (["tanh", "elu"], ["tanh", "elu", "none"]),
    (["relu", "none", "sigmoid"], ["relu", "none", "sigmoid"]),
    (["none"], ["none"] * 3),
    (["tanh", "elu", "selu", "relu", "relu"], ["tanh", "elu", "selu"]),
]
DROPOUTS = [
    ([], [0, 0, 0]),
    ([0.5], [0.5, 0.5, 0.5]),
    ([0.5, 0.2], [0.5, 0.2, 0]),
    ([0.5, 0, 0.25], [0.5, 0, 0.25]),
    ([0], [0, 0, 0]),
    ([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3]),
]
NORMS = [
    ([], [False] * 3),
    ([True], [True] * 3),
    ([False], [False] * 3),
    ([True, True], [True, True, False]),
    ([True, False, True], [True, False, True]),
    ([False, True, False, True], [False, True, False]),
]
THREE = {"expert_layers": [6, 5, 4], "task_structs": [{"units": [5, 4, 3, 1]}, {"units": [1]}]}
SIDES = pytest.mark.parametrize("side", ["expert", "task", "struct"])
NAMES = {
    "expert": {"act": "expert_act", "dropout": "expert_dropout", "use_bn": "expert_use_bn"},
    "task": {"act": "task_hidden_act", "dropout": "task_dropout", "use_bn": "task_use_bn"},
}


def settings(side: str, **lists: list) -> dict[str, Any]:
    """The lists act, dropout and use_bn as settings of the experts, of all towers, or of the first
    tower in its task_structs, where they go before those of all."""
    if side in NAMES:
        return THREE | {NAMES[side][name]: values for name, values in lists.items() if values}
    others = {"act": ["selu"], "dropout": [0.35], "use_bn": [True]}
    common = {NAMES["task"][name]: others[name] for name in lists if lists[name]}
    own = {"act": "hidden_act", "dropout": "dropout", "use_bn": "use_bn"}
    struct = {own[name]: values for name, values in lists.items() if values}
    first = {"units": [5, 4, 3, 1]} | struct
    return THREE | {"task_structs": [first, {"units": [2, 1]}]} | common


def network(built: Built, side: str) -> Network:
    return built.model.body.experts if side == "expert" else built.model.towers["tower_a"].mlp


def matches(built: Built, chosen: dict[str, Any]) -> None:
    """The logits are those of the oracle with these settings."""
    arrays = {name: tensor.detach().numpy() for name, tensor in weights(built.model).items()}
    wanted = Oracle(SMALL | chosen, GROUPS, KINDS, arrays).logits(rows(5), built.model.names)
    for name, each in logits(built, rows(5)).items():
        assert_close(each, torch.from_numpy(np.asarray(wanted[name])))


@SIDES
@pytest.mark.parametrize(("given", "wanted"), ACTS)
def test_activations_are_one_for_all_or_one_for_each_layer(
    side: str, given: list[str], wanted: list[str]
) -> None:
    """S0.22, S0.28: what is too long is cut, layers that lack one have none, "none" stands for none
    in between; relu when unset; of the experts every layer counts, of towers all but the last."""
    built = shaken_v2(**settings(side, act=given))
    layers = network(built, side).layers
    texts = [keras_activation(name) for name in wanted]
    assert [layer.activation is None for layer in layers] == [not text for text in texts]
    matches(built, settings(side, act=wanted if given else []))


@SIDES
@pytest.mark.parametrize(("given", "wanted"), DROPOUTS)
def test_chances_to_drop_follow_the_same_rule(
    side: str, given: list[float], wanted: list[float]
) -> None:
    """S0.23, S0.31: also after the experts' last layer, where it has a value; S0.39: 0 is none."""
    layers = network(v2(**settings(side, dropout=given)), side).layers
    assert [layer.dropout.p if layer.dropout else 0 for layer in layers] == wanted


@SIDES
@pytest.mark.parametrize(("given", "wanted"), NORMS)
def test_batch_norm_follows_the_same_rule(side: str, given: list[bool], wanted: list[bool]) -> None:
    """S0.24, S0.30."""
    built = shaken_v2(**settings(side, use_bn=given))
    layers = network(built, side).layers
    assert [isinstance(layer.norm, BatchNorm) for layer in layers] == wanted
    assert [layer.linear.bias is None for layer in layers] == wanted  # the shift does its work
    matches(built, settings(side, use_bn=wanted if given else []))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("upper", [False, True])
def test_every_activation_has_its_formula_in_experts_and_towers(name: str, upper: bool) -> None:
    """S0.22: dice on the running moments with Keras's epsilon, prelu with each network's slope."""
    word = name.upper() if upper else name
    built = shaken_v2(expert_act=[word], task_hidden_act=[word])
    matches(built, {"expert_act": [name], "task_hidden_act": [name]})


def test_lrelu_is_another_name_of_leaky_relu() -> None:
    built = shaken_v2(expert_act=["lrelu"])
    matches(built, {"expert_act": ["leaky_relu"]})


@pytest.mark.parametrize("side", ["expert", "task"])
def test_a_layer_is_linear_map_batch_norm_activation_dropout_in_this_order(side: str) -> None:
    """S0.23, S0.24: in training; the sigmoid of what is dropped would not be 0, its batch norm not
    the batch's."""
    lists = {"act": ["sigmoid"], "use_bn": [True]}
    built = shaken_v2(**settings(side, **lists))
    dropping = shaken_v2(**settings(side, dropout=[0.5, 0.5, 0.5], **lists))
    for plain, layer in zip(
        network(built, side).layers, network(dropping, side).layers, strict=True
    ):
        layer.train()
        x = parts.normal(64, layer.linear.weight.shape[2], seed=4)
        linear = layer.linear(x).flatten(1)
        normed = (linear - linear.mean(dim=0)) / (linear.var(dim=0, correction=0) + 0.001).sqrt()
        norm = plain.norm
        wanted = 1 / (1 + torch.exp(-(norm.weight * normed + norm.bias)))
        found = layer(x).flatten(1)
        kept = found != 0
        assert 0.4 < kept.double().mean() < 0.6
        assert_close(found[kept], 2 * wanted[kept])


def test_the_towers_last_layer_and_towers_without_hidden_layers_drop_and_norm_nothing() -> None:
    """S0.30, S0.31: hidden layers only."""
    built = shaken_v2(
        task_structs=[{"units": [1]}, {"units": [3]}], task_dropout=[0.9], task_use_bn=[True]
    )
    before = logits(built, rows(6))
    built.model.train()
    for name, each in logits(built, rows(6)).items():
        assert torch.equal(each, before[name])
    assert not [name for name, _ in built.model.towers.named_parameters() if "norm" in name]


BIASES = {
    "expert_use_bias": r"body.experts.layers",
    "task_use_bias": r"towers.",
    "gate_use_bias": r"body.gates.",
}


@pytest.mark.parametrize("setting", BIASES)
def test_biases_are_there_unless_turned_off(setting: str) -> None:
    """S0.21, S0.27, S0.34: of the experts, of the towers (the output layer too), of the gates."""
    names = [name for name, _ in v2().model.named_parameters()]
    own = [n for n in names if n.startswith(BIASES[setting]) and n.endswith("bias")]
    assert len(own) == {"expert_use_bias": 2, "task_use_bias": 3, "gate_use_bias": 1}[setting]
    without = shaken_v2(**{setting: False})
    assert [n for n, _ in without.model.named_parameters()] == [n for n in names if n not in own]
    matches(without, {setting: False})


def test_the_widths_are_those_of_the_settings_from_the_input_on() -> None:
    """S0.11, S0.19, S0.20: how many experts, their widths, and the towers', output last."""
    structs = [{"units": [7, 2, 1]}, {"units": [4]}, {"units": [1]}]
    built = v2(num_experts=5, expert_layers=[8, 3, 6], task_structs=structs, use_wide=False)
    shapes = {name: tuple(each.shape) for name, each in built.model.named_parameters()}
    deep = 4 + 2 + 4 + 4 + 3  # v, n, u, m, w
    assert {name: shape for name, shape in shapes.items() if name.endswith("weight")} == {
        **{name: shape for name, shape in shapes.items() if name.startswith("encoder")},
        "body.experts.layers.0.linear.weight": (5, 8, deep),
        "body.experts.layers.1.linear.weight": (5, 3, 8),
        "body.experts.layers.2.linear.weight": (5, 6, 3),
        "body.gates.final.weight": (3, 5, deep),
        "towers.tower_a.mlp.layers.0.linear.weight": (1, 7, 6),
        "towers.tower_a.mlp.layers.1.linear.weight": (1, 2, 7),
        "towers.tower_a.linear.weight": (1, 2),
        "towers.tower_b.linear.weight": (4, 6),
        "towers.tower_c.linear.weight": (1, 6),
    }


@pytest.mark.parametrize("wide_type", ["FM", "LR"])
def test_all_its_layers_start_as_kerass_do(wide_type: str) -> None:
    """S0.24: glorot_uniform for the kernel of each expert, gate, tower and LR, biases 0; batch norm
    with epsilon 0.001 and 0.99 of the old running moments."""
    wide = {"wide_type": wide_type, "wide_use_bn": wide_type == "LR"}
    sizes = {"expert_layers": [300, 200], "task_structs": [{"units": [150, 1]}, {"units": [1]}]}
    built = v2(expert_use_bn=[True, False], task_use_bn=[True], **sizes, **wide)
    kernels = {}
    for name, parameter in built.model.named_parameters():
        if name.startswith("encoder"):
            continue
        if name.endswith(("linear.weight", "final.weight")):
            each = parameter if parameter.dim() == 3 else parameter.unsqueeze(0)
            kernels |= {f"{name} {place}": kernel for place, kernel in enumerate(each)}
        elif name.endswith("bias"):
            assert not parameter.any(), name
    for name, kernel in kernels.items():
        bound = math.sqrt(6 / sum(kernel.shape)) + 1e-7
        assert kernel.abs().max() <= bound, name
        if kernel.numel() >= 150:
            assert oracles.uniform_distance(kernel, -bound, bound) < 1.95, name
    norms = [part for part in built.model.modules() if isinstance(part, BatchNorm)]
    assert len(norms) == 2 + (wide_type == "LR")
    assert {(norm.eps, round(norm.momentum, 9)) for norm in norms} == {(0.001, 0.01)}


def test_the_running_moments_are_those_of_the_batches() -> None:
    """S0.24: 0.99 of the old and 0.01 of the batch's, expert by expert."""
    built = shaken_v2(expert_use_bn=[True])
    experts = built.model.body.experts
    before = experts.layers[0].norm.running_mean.clone()
    built.model.train()
    x = built.model.encoder(inputs(built, rows(9)))["experts"]
    experts(x)
    means = [(x @ kernel.T).mean(dim=0) for kernel in experts.layers[0].linear.weight]
    wanted = 0.99 * before + 0.01 * torch.cat(means)
    assert_close(experts.layers[0].norm.running_mean, wanted)
