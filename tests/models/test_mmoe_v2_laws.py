"""What must hold between models: MMoE V2 without its sides, with other words, orders and heads."""

import re
from typing import Any

import parts
import pytest
import torch
from google.protobuf import text_format
from models.small_v2 import GROUPS, SMALL, inputs, logits, made, rows, shaken_v2, text, v2
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Batch
from tzmmoe.build import Built
from tzmmoe.learning.schedules import Rates
from tzmmoe.learning.settings import LearningSettings
from tzmmoe.learning.step import TrainStep
from tzmmoe.models.mmoe import MMoE
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.protos.train_pb2 import TrainConfig
from tzmmoe.registry import fields
from tzmmoe.run.state import weights

PLAIN_MMOE = """  mmoe {{
    num_expert: 3
    expert_mlp {{
      hidden_units: [6, 5] activation: "nn.Tanh" use_bn: {norm} dropout_ratio: [{dropout}]
    }}
    task_towers {{
      tower_name: "a" label_name: "a"
      mlp {{
        hidden_units: 4 activation: "nn.SELU" use_bn: {norm} dropout_ratio: [{dropout}]
      }}
    }}
    task_towers {{ tower_name: "b" label_name: "b" }}
  }}
"""
NO_SIDE = [{"use_wide": False}, {"output_cross": 1}, {"wide_type": "raw"}]
LR = 0.02
ADAM = f"adam_optimizer {{ lr: {LR} }}"


def plain_mmoe(*, norm: bool, dropout: float) -> Built:
    """On the deep group alone."""
    model = PLAIN_MMOE.format(norm=str(norm).lower(), dropout=dropout)
    return made(re.sub(r"  mmoe_v2 .*\n", model, text(SMALL, {"mmoe": GROUPS["mmoe"]})))


def train_step(built: Built) -> TrainStep:
    config = f"sparse_optimizer {{ {ADAM} }} dense_optimizer {{ {ADAM} }}"
    settings = LearningSettings.of(fields(text_format.Parse(config, TrainConfig())))
    return TrainStep.of(built.model, built.tasks, settings, torch.device("cpu"))


def train(built: Built, batches: list[Batch]) -> None:
    step = train_step(built)
    built.model.train()
    for number, batch in enumerate(batches):
        torch.manual_seed(number)  # of dropout
        step(batch, Rates(LR, LR))


def batches(built: Built, count: int) -> list[Batch]:
    found = []
    for seed in range(count):
        labels = torch.randint(2, (2, 16), generator=parts.generator(seed)).float()
        read = inputs(built, rows(16, seed), torch.float32)
        found.append(parts.batch({"a": labels[0], "b": labels[1]}, read))
    return found


def body(built: Built, raw: dict[str, list]) -> list[Tensor]:
    """What the towers read."""
    model = built.model
    return list(model.body(model.encoder(inputs(built, raw))).hidden)


@pytest.mark.parametrize("without", NO_SIDE)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_without_a_wide_side_it_is_plain_mmoe_number_for_number_while_training_too(
    without: dict[str, Any], norm: bool, dropout: float
) -> None:
    """S0.2, S0.12, S0.50: with the same weights and batch norm's settings; five steps of Adam."""
    plain = plain_mmoe(norm=norm, dropout=dropout)
    deep = v2(
        expert_act=["tanh"],
        task_hidden_act=["selu"],
        expert_use_bn=[norm],
        task_use_bn=[norm],
        expert_dropout=[dropout],
        task_dropout=[dropout],
        **without,
    )
    for part in plain.model.modules():
        if isinstance(part, BatchNorm):
            part.eps, part.momentum = 0.001, 0.01
    plain.model.load_state_dict(deep.model.state_dict())
    train(plain, batches(plain, 5))
    train(deep, batches(deep, 5))
    states = plain.model.state_dict(), deep.model.state_dict()
    assert list(states[0]) == list(states[1])
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    outputs = []
    for built in (plain, deep):
        built.model.eval()
        outputs.append(logits(built, rows(9, seed=7)))
    for name, found in outputs[0].items():
        assert torch.equal(found, outputs[1][name])


@pytest.mark.parametrize("feature_cross", [0, 1])
def test_shared_gates_give_every_tower_the_mixture_of_one_gate(feature_cross: int) -> None:
    """S0.37: MMoE becomes MoE: the same tensor for all, that of a mixture with a single gate."""
    built, raw = shaken_v2(share_gates=True, feature_cross=feature_cross), rows(6)
    first, second = body(built, raw)
    assert first is second
    assert built.model.body.gates.final.weight.shape[0] == 1
    own = built.model.body
    width = own.experts.layers[0].linear.weight.shape[2]
    layers = parts.PLAIN | {"hidden_units": [6, 5]}
    alone = MMoE(
        {"all": parts.group(x=width)},
        parts.specs(alone=1),
        expert_mlp=layers,
        gate_mlp=None,
        num_expert=3,
        **parts.ALONE,
        gate_temperature=1.0,
        gate_dropout=0.0,
        gate_entropy_weight=0.0,
        gate_balance_weight=0.0,
    ).double()
    named = {n: p for n, p in own.state_dict().items() if n.startswith(("experts", "gates"))}
    alone.load_state_dict(named)
    read = built.model.encoder(inputs(built, raw))
    x_BD = read["experts"]
    if feature_cross == 1:
        x_BD = torch.cat([x_BD, read["latent"].flatten(1)], dim=1)
    [wanted] = alone({"all": x_BD}).hidden
    assert torch.equal(first, wanted)


def test_gates_of_their_own_that_are_equal_give_what_a_shared_one_gives() -> None:
    """S0.37: and those that differ do not."""
    shared, own, raw = shaken_v2(share_gates=True), shaken_v2(), rows(6)
    state = shared.model.state_dict()
    for name in ("weight", "bias"):
        gate = state[f"body.gates.final.{name}"]
        state[f"body.gates.final.{name}"] = gate.repeat(2, *[1] * (gate.dim() - 1))
    first, second = body(own, raw)
    assert not torch.allclose(first, second)
    own.model.load_state_dict(state)
    for name, each in logits(shared, raw).items():
        assert_close(logits(own, raw)[name], each)


@pytest.mark.parametrize("wide_type", ["FM", "LR"])
@pytest.mark.parametrize("feature_cross", range(6))
def test_any_other_output_cross_adds_nothing(wide_type: str, feature_cross: int) -> None:
    """S0.15: 0 adds y_w, whatever else it is does not."""
    settings = {"wide_type": wide_type, "feature_cross": feature_cross}
    found = [shaken_v2(output_cross=number, **settings) for number in (1, -1, 2, 100)]
    for other in found[1:]:
        for name, each in logits(found[0], rows(4)).items():
            assert torch.equal(logits(other, rows(4))[name], each)


@pytest.mark.parametrize("wide_type", ["FM", "LR"])
@pytest.mark.parametrize("feature_cross", [1, 2, 4])
def test_what_is_added_is_one_number_for_all_tasks_of_a_row(
    wide_type: str, feature_cross: int
) -> None:
    """S0.46, S0.51: whatever feature_cross is, output_cross: 0 moves all logits of a row alike."""
    settings = {"wide_type": wide_type, "feature_cross": feature_cross}
    added, not_added = (shaken_v2(output_cross=number, **settings) for number in (0, 1))
    not_added.model.load_state_dict(added.model.state_dict(), strict=False)
    pair = logits(added, rows(5)), logits(not_added, rows(5))
    moved = {name: pair[0][name] - pair[1][name] for name in pair[0]}
    assert_close(moved["a"], moved["b"])
    assert (moved["a"].abs() > 1e-6).all()


@pytest.mark.parametrize(
    ("wide_type", "same"), [("fm", "FM"), ("Fm", "FM"), ("lr", "LR"), ("none", ""), ("DNN", "")]
)
def test_words_of_the_wide_type_in_any_case_and_any_other_word(wide_type: str, same: str) -> None:
    """S0.13: FM and LR are models; with any other word the features are used as they are."""
    found = [shaken_v2(wide_type=word, feature_cross=2) for word in (wide_type, same)]
    assert found[0].model.state_dict().keys() == found[1].model.state_dict().keys()
    for name, each in logits(found[0], rows(4)).items():
        assert torch.equal(logits(found[1], rows(4))[name], each)


@pytest.mark.parametrize("wide_type", ["FM", "LR"])
@pytest.mark.parametrize("feature_cross", [0, 3, 5])
def test_heads_that_are_equal_give_what_one_head_gives(wide_type: str, feature_cross: int) -> None:
    """S0.51: wide_per_task is one y_w for all tasks when their weights are the same."""
    settings = {"wide_type": wide_type, "feature_cross": feature_cross}
    one, several = shaken_v2(**settings), shaken_v2(wide_per_task=True, **settings)
    state = one.model.state_dict()
    for name, tensor in several.model.state_dict().items():
        if tensor.shape != state[name].shape:  # (1, D) of LR, (rows, 1) of FM
            state[name] = state[name].expand_as(tensor)
    several.model.load_state_dict(state)
    for name, each in logits(one, rows(4)).items():
        assert_close(logits(several, rows(4))[name], each)


@pytest.mark.parametrize("order", [["q", "p", "w", "s", "u", "n"], ["u", "n", "q", "s", "p", "w"]])
def test_the_order_of_the_wide_features_does_not_change_fms_output(order: list[str]) -> None:
    """S0.52: a sum over fields and pairs of fields."""
    first = shaken_v2()
    other = shaken_v2(groups=GROUPS | {"wide": order})
    named, target = weights(first.model), weights(other.model)
    turned = [2, 0, 1] if order.index("q") < order.index("n") else [0, 1, 2]  # two of n, one of q
    for name, tensor in target.items():
        value = named[name]
        tensor.copy_(value[turned] if "vectors" in name else value)
    for name, each in logits(first, rows(6)).items():
        assert_close(logits(other, rows(6))[name], each)


@pytest.mark.parametrize("wide_type", ["FM", "LR", "raw"])
@pytest.mark.parametrize("feature_cross", [2, 5])
def test_a_row_gives_alone_what_it_gives_among_others(wide_type: str, feature_cross: int) -> None:
    built, raw = shaken_v2(wide_type=wide_type, feature_cross=feature_cross), rows(8)
    whole = logits(built, raw)
    for b in (0, 5):
        alone = logits(built, {name: [each[b]] for name, each in raw.items()})
        for name, each in alone.items():
            assert_close(each, whole[name][b : b + 1])
