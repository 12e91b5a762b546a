"""EasyRec's MMoE layer against its numbers and a loop over tasks and experts."""

import math

import easyrec_numbers
import layer_laws
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.gated.mixture import MMoE

MLP = parts.KERAS_MLP | {"hidden_units": [6, 4]}


def test_the_mixtures_are_easyrecs() -> None:
    recording = easyrec_numbers.Recording("mmoe")
    layer = easyrec_numbers.ready(MMoE([5], num_task=2, num_expert=3, expert_mlp=MLP))
    for expert in range(3):
        recording.mlp(layer.experts, f"expert_{expert}", expert)
    with torch.no_grad():
        for task in range(2):
            layer.gates.final.weight[task].copy_(recording.weight(f"gate_{task}/kernel").T)
            layer.gates.final.bias[task].copy_(recording.weight(f"gate_{task}/bias"))
    recording.check(layer(recording.inputs[0]))


def mixed(layer: MMoE, outputs: list[Tensor], x: Tensor) -> list[Tensor]:
    mixtures = []
    for kernel, bias in zip(layer.gates.final.weight, layer.gates.final.bias, strict=True):
        rows = []
        for b in range(len(x)):
            powers = [math.exp(score) for score in (kernel @ x[b] + bias).tolist()]
            rows.append(
                sum(p / sum(powers) * out[b] for p, out in zip(powers, outputs, strict=True))
            )
        mixtures.append(torch.stack(rows))
    return mixtures


@pytest.mark.parametrize(("num_task", "num_expert"), [(1, 1), (3, 2), (2, 4)])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_task_gets_its_own_mixture_of_all_experts(
    num_task: int, num_expert: int, rows: int
) -> None:
    layer = MMoE([5], num_task=num_task, num_expert=num_expert, expert_mlp=MLP)
    layer, x = parts.shaken(layer).eval(), parts.normal(rows, 5)
    outputs = list(layer.experts(x).unbind(1))
    found = layer(x)
    assert len(found) == num_task
    for own, wanted in zip(found, mixed(layer, outputs, x), strict=True):
        assert_close(own, wanted)


@pytest.mark.parametrize(("num_task", "num_expert"), [(1, 1), (3, 2)])
def test_without_an_mlp_the_inputs_are_the_experts_and_then_the_gates_input(
    num_task: int, num_expert: int
) -> None:
    widths = [*[4] * num_expert, 5]
    layer = MMoE(widths, num_task=num_task, num_expert=num_expert, expert_mlp=None)
    layer = parts.shaken(layer)
    inputs = [parts.normal(3, width, seed=index) for index, width in enumerate(widths)]
    for own, wanted in zip(layer(inputs), mixed(layer, inputs[:-1], inputs[-1]), strict=True):
        assert_close(own, wanted)
    layer_laws.check_laws(layer, inputs)
    layer_laws.check_gradients(layer, inputs)


def test_it_obeys_the_laws_of_layers() -> None:
    layer = parts.shaken(MMoE([5], num_task=2, num_expert=3, expert_mlp=MLP))
    layer_laws.check_laws(layer, parts.normal(3, 5))
    assert not layer.gates.by_task


def test_gates_start_by_glorot_uniform_and_zeros() -> None:
    torch.manual_seed(0)
    layer = MMoE([300], num_task=2, num_expert=100, expert_mlp=MLP)
    bound = math.sqrt(6 / 400)
    assert 0.99 * bound < layer.gates.final.weight.abs().max() <= bound
    assert not layer.gates.final.bias.any()


@pytest.mark.parametrize(
    ("widths", "settings", "words"),
    [
        ([5, 5], {}, "gets 2 inputs; it needs one, which all experts of expert_mlp read"),
        ([4, 4], {"expert_mlp": None}, "gets 2 inputs; it needs 4 without expert_mlp"),
        ([4, 3, 4, 5], {"expert_mlp": None}, "inputs[0] has 4, inputs[1] has 3; experts need"),
        ([5], {"num_task": 0}, "num_task: is 0"),
        ([5], {"num_expert": 0}, "num_expert: is 0"),
        ([5], {"expert_mlp": MLP | {"hidden_units": []}}, "expert_mlp.hidden_units: is []"),
    ],
)
def test_a_bad_setting_or_shape_is_named(widths: list[int], settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        MMoE(widths, **{"num_task": 2, "num_expert": 3, "expert_mlp": MLP} | settings)
    assert words in str(error.value)
