"""Every setting of MMoE V2 does something, and what is not set is what the schema says."""

from typing import Any

import pytest
import torch
from google.protobuf import text_format
from models.small_v2 import GROUPS, SMALL, logits, made, rows, shaken_v2, text
from parts import shaken
from torch.testing import assert_close

from tzmmoe.build import rules
from tzmmoe.errors import Faults
from tzmmoe.protos.model_pb2 import MMoEV2, TaskStruct
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.tables.penalties import penalized, regularization

MORE_GROUPS = GROUPS | {"other": ["m", "n"]}
# Setting -> another value than SMALL's or the schema's, and what must be set beside it.
OTHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "task_structs": ([{"units": [4, 2, 1]}, {"units": [1]}], {}),
    "task_use_bias": (False, {}),
    "task_hidden_act": (["tanh"], {}),
    "task_use_bn": ([True], {}),
    "task_dropout": ([0.5], {}),
    "num_experts": (2, {}),
    "num_members": (2, {}),
    "expert_layers": ([6, 4], {}),
    "expert_use_bias": (False, {}),
    "expert_act": (["tanh"], {}),
    "expert_dropout": ([0.5], {}),
    "expert_use_bn": ([True], {}),
    "gate_use_bias": (False, {}),
    "share_gates": (True, {}),
    "use_wide": (False, {}),
    "wide_type": ("LR", {}),
    "wide_width": (5, {}),
    "feature_cross": (2, {}),
    "output_cross": (1, {}),
    "wide_group": ("other", {}),
    "mmoe_group": ("other", {}),
    "wide_per_task": (True, {}),
    "wide_output_is_prob": (True, {}),
    "wide_use_bn": (True, {"wide_type": "LR"}),
    "wide_feature": ("embeddings", {"feature_cross": 4}),
    "dedup_cross_features": (False, {"feature_cross": 1, "wide_type": "LR"}),
    **{
        f"{part}_l{power}_reg": (0.1, {})
        for part in ("task", "expert", "gate", "wide")
        for power in (1, 2)
    },
}
# Of the evaluation's file, of the tasks, and of both: there is no task without towers.
ELSEWHERE = {"name", "task_output_act", "task_towers"}
STRUCT = {
    "units": [3, 1],
    "hidden_act": ["tanh"],
    "dropout": [0.5],
    "use_bn": [True],
}


def behaviour(**settings: Any) -> tuple:
    """Parameters by shape, a penalty, and outputs of a training pass over the same rows."""
    built = shaken_v2(groups=MORE_GROUPS, **settings)
    shapes = {name: tuple(each.shape) for name, each in built.model.state_dict().items()}
    penalty = regularization(penalized(built.model))
    built.model.train()
    torch.manual_seed(0)
    outputs = built.tasks.predict(logits(built, rows(8)))
    numbers = {name: each.tolist() for name, each in outputs.items()}
    return shapes, None if penalty is None else penalty.item(), numbers


@pytest.mark.parametrize("name", OTHER)
def test_a_setting_changes_the_model_its_penalty_or_its_outputs(name: str) -> None:
    """S0.3: every optional parameter, one by one."""
    value, beside = OTHER[name]
    assert behaviour(**beside) == behaviour(**beside)
    assert behaviour(**beside, **{name: value}) != behaviour(**beside)


@pytest.mark.parametrize("name", STRUCT)
def test_so_does_one_of_a_single_tower(name: str) -> None:
    first = {"units": [4, 1]} | {name: STRUCT[name]}
    changed = {"task_structs": [first, {"units": [1]}]}
    assert behaviour(**changed) != behaviour()


def test_these_are_all_settings_that_there_are() -> None:
    """S0.3: the 28 of the document and those that this package adds."""
    assert set(OTHER) | ELSEWHERE == {field.name for field in MMoEV2.DESCRIPTOR.fields}
    assert set(STRUCT) == {field.name for field in TaskStruct.DESCRIPTOR.fields}


# Settings of the wide side, off their defaults.
OF_THE_SIDE = {
    "wide_width": 5,
    "wide_l1_reg": 0.1,
    "wide_l2_reg": 0.1,
    "wide_per_task": True,
    "wide_output_is_prob": True,
    "wide_use_bn": True,
    "wide_feature": "embeddings",
    "dedup_cross_features": False,
}


def told_void(settings: dict[str, Any]) -> set[str]:
    """What the notes to a config call void."""
    plain = {name: value for name, value in SMALL.items() if name != "wide_width"}
    pipeline = text_format.Parse(text(plain | settings, MORE_GROUPS), Pipeline())
    rules().rewrite(pipeline, Faults())
    lines = [line for line in rules().notes(pipeline) if " no effect" in line]
    return {name for name in settings for line in lines if name in line.partition(" ha")[0]}


@pytest.mark.long
@pytest.mark.parametrize("wide_feature", ["auto", "embeddings"])
@pytest.mark.parametrize("output_cross", [0, 1])
@pytest.mark.parametrize("feature_cross", range(6))
@pytest.mark.parametrize("wide_type", ["FM", "LR", "x"])
def test_a_setting_of_the_wide_side_is_told_to_be_void_if_and_only_if_it_changes_nothing(
    wide_type: str, feature_cross: int, output_cross: int, wide_feature: str
) -> None:
    """S0.50."""
    plain = {
        "wide_type": wide_type,
        "feature_cross": feature_cross,
        "output_cross": output_cross,
    }
    others = dict(OF_THE_SIDE)
    if wide_feature == "embeddings":
        plain["wide_feature"] = others.pop("wide_feature")
    elif wide_type != "FM":
        others.pop("wide_feature")  # what it asks for is there
    before = behaviour(**plain)
    for name, value in others.items():
        same = behaviour(**plain | {name: value}) == before
        assert (name in told_void(plain | {name: value})) == same, name
    same = behaviour(**plain | {"wide_type": "x"}) == before
    assert ("wide_type" in told_void(plain)) == (same and wide_type != "x")


# What the document states, and what was chosen where it is silent.
DEFAULTS: dict[str, Any] = {
    "name": "mmoe v2",
    "task_use_bias": True,
    "expert_use_bias": True,
    "gate_use_bias": True,
    "share_gates": False,
    "use_wide": True,
    "wide_type": "FM",
    "wide_width": 8,
    "feature_cross": 0,
    "output_cross": 0,
    "wide_group": "wide",
    "mmoe_group": "mmoe",
    "wide_per_task": False,
    "wide_output_is_prob": False,
    "wide_use_bn": False,
    "wide_feature": "auto",
    "dedup_cross_features": True,
    **{name: 0 for name in OTHER if name.endswith("_reg")},
}


def test_unset_settings_are_those_of_the_document() -> None:
    """S0.12 to S0.18, S0.21 to S0.39, S0.48, S0.51, S0.54: written out, they change nothing."""
    message = MMoEV2()
    for name, value in DEFAULTS.items():
        assert getattr(message, name) == value, name
    acts = {"expert_act": ["relu"], "task_hidden_act": ["relu"]}
    lists = {"expert_dropout": [0], "task_dropout": [0], "expert_use_bn": [False]}
    written = {name: value for name, value in DEFAULTS.items() if name not in SMALL}
    written |= acts | lists | {"task_use_bn": [False]}
    assert behaviour(**written) == behaviour()


def outputs(content: str) -> dict[str, torch.Tensor]:
    built = made(content)
    shaken(built.model, seed=1).eval()
    return built.tasks.predict(logits(built, rows(6)))


def test_the_output_activation_is_that_of_the_towers_and_the_wide_output_together() -> None:
    """S0.15, S0.29: y_w is added before it."""
    plain, bent = (
        outputs(text(SMALL | more, GROUPS).replace("binary_cross_entropy", "l2_loss"))
        for more in ({}, {"task_output_act": "tanh"})
    )
    assert set(plain) == set(bent) == {"y_a", "y_b"}
    for name, each in plain.items():
        assert_close(bent[name], each.tanh())


def test_an_unset_output_activation_gives_logits_and_probabilities() -> None:
    """S0.29: "sigmoid" with binary cross entropy gives the same numbers."""
    unset, sigmoid = (
        outputs(text(SMALL | more, GROUPS)) for more in ({}, {"task_output_act": "sigmoid"})
    )
    assert set(unset) == set(sigmoid) == {"logits_a", "probs_a", "logits_b", "probs_b"}
    for name, each in unset.items():
        assert torch.equal(sigmoid[name], each)
    assert_close(unset["probs_a"], 1 / (1 + torch.exp(-unset["logits_a"])))
