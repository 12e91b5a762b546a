"""Every setting of MMoE V2 does something, and what is not set is what the schema says."""

from typing import Any

import pytest
import torch
from models.small_v2 import GROUPS, SMALL, logits, made, rows, shaken_v2, text
from parts import shaken
from torch.testing import assert_close

from tzmmoe.nn.regularizers import penalized, regularization
from tzmmoe.protos.model_pb2 import MMoEV2, TaskStruct

MORE_GROUPS = GROUPS | {"other": ["m", "n"]}
# Setting -> another value than SMALL's or the schema's, and what must be set beside it.
OTHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "task_structs": ([{"units": [4, 2, 1]}, {"units": [1]}], {}),
    "task_use_bias": (False, {}),
    "task_hidden_act": (["tanh"], {}),
    "task_use_bn": ([True], {}),
    "task_dropout": ([0.5], {}),
    "num_experts": (2, {}),
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
