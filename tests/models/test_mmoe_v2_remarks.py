"""What MMoE V2 says of settings without effect: one line each, by their names."""

import logging
from typing import Any

import pytest
from google.protobuf import text_format
from models.small_v2 import GROUPS, SMALL, text, v2

from tzmmoe.build import rules
from tzmmoe.errors import ConfigError, Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline

PLAIN = {name: value for name, value in SMALL.items() if name != "wide_width"}
THREE = [{"units": [3]}, {"units": [1]}]  # the first task has three classes
# Settings, and a part of each line that they make.
REMARKS = [
    ({}, []),
    ({"expert_act": ["relu"] * 3}, ["expert_act has 3 values for 2 layers; remove the surplus"]),
    ({"expert_dropout": [0.1] * 4}, ["expert_dropout has 4 values for 2 layers"]),
    ({"expert_use_bn": [True] * 3}, ["expert_use_bn has 3 values for 2 layers"]),
    ({"task_hidden_act": ["relu"] * 2}, ["task_hidden_act has 2 values for 1 layer;"]),
    ({"task_dropout": [0.1] * 2, "task_use_bn": [True] * 5},
     ["task_dropout has 2 values for 1 layer;", "task_use_bn has 5 values for 1 layer;"]),
    ({"task_structs": [{"units": [4, 1], "hidden_act": ["tanh"] * 2}, {"units": [2, 2, 1]}],
      "task_hidden_act": ["relu"] * 2}, ["task_structs[0].hidden_act has 2 values for 1 layer"]),
    ({"task_structs": [{"units": [4, 1]}, {"units": [2, 2, 1]}],
      "task_hidden_act": ["relu"] * 2}, []),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "wanted"), REMARKS)
def test_a_list_that_is_too_long_gives_one_line(
    settings: dict[str, Any], wanted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """S0.22: once, and by the name of the setting."""
    caplog.set_level(logging.WARNING)
    v2(**settings)
    assert len(caplog.messages) == len(wanted), caplog.messages
    for line, words in zip(caplog.messages, wanted, strict=True):
        assert words in line


def test_groups_that_it_does_not_read_are_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    v2(groups=GROUPS | {"spare": ["v"], "more": ["u"]})
    assert caplog.messages == ["mmoe_v2 does not read these feature groups: spare, more"]


def said(settings: dict[str, Any], groups: dict[str, list[str]]) -> list[str]:
    """The notes to a config."""
    pipeline = text_format.Parse(text(PLAIN | settings, groups), Pipeline())
    rules().rewrite(pipeline, Faults())
    return [line for line in rules().notes(pipeline) if line.startswith("mmoe_v2")]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, []),
        ({"wide_type": "LR", "wide_use_bn": True, "wide_l1_reg": 0.1}, []),
        ({"wide_type": "LR", "feature_cross": 5}, []),
        ({"feature_cross": 3, "output_cross": 1}, []),
        ({"wide_type": "x", "feature_cross": 3, "output_cross": 1},
         ["feature_cross: 3 acts as 2: wide_type 'x' has no model"]),
        ({"wide_type": "x", "feature_cross": 5, "output_cross": 1},
         ["feature_cross: 5 acts as 4: wide_type 'x' has no model"]),
        ({"wide_type": "x", "feature_cross": 2}, ["output_cross: 0 adds nothing: wide_type 'x'"]),
        ({"wide_type": "x", "feature_cross": 3},
         ["feature_cross: 3 acts as 2", "output_cross: 0 adds nothing"]),
        ({"output_cross": 1}, ["use_wide has no effect: with feature_cross: 0, output_cross: 1"]),
        ({"output_cross": 1, "wide_l2_reg": 0.1, "wide_width": 2},
         ["use_wide has no effect", "wide_width, wide_l2_reg have no effect: nothing reads the"]),
        ({"wide_type": "x"}, ["output_cross: 0 adds nothing", "use_wide has no effect"]),
        ({"wide_type": "LR", "feature_cross": 1, "output_cross": 1, "wide_l2_reg": 0.1,
          "wide_use_bn": True, "wide_per_task": True, "wide_output_is_prob": True},
         ["wide_type, wide_l2_reg have no effect: nothing reads the wide model",
          "wide_per_task, wide_output_is_prob, wide_use_bn have no effect: nothing reads the wide "
          "model's output"]),
        ({"feature_cross": 1, "output_cross": 1, "wide_l2_reg": 0.1, "wide_per_task": True},
         ["wide_per_task has no effect: nothing reads the wide model's output"]),
        ({"feature_cross": 2, "output_cross": 1, "wide_feature": "embeddings", "wide_width": 4,
          "wide_l2_reg": 0.1},
         ["wide_width, wide_l2_reg have no effect: nothing reads the wide model"]),
        ({"wide_feature": "embeddings"}, ["wide_feature has no effect: nothing reads the wide f"]),
        ({"feature_cross": 1, "dedup_cross_features": False},
         ["dedup_cross_features has no effect: the embeddings of the wide group do not enter"]),
        ({"wide_type": "LR", "feature_cross": 4, "dedup_cross_features": False},
         ["dedup_cross_features has no effect"]),
        ({"wide_type": "LR", "wide_width": 4}, ["wide_width has no effect with wide_type: 'LR'"]),
        ({"wide_use_bn": True}, ["wide_use_bn has no effect with wide_type: 'FM'"]),
        ({"wide_type": "x", "wide_per_task": True, "wide_l2_reg": 0.1, "wide_width": 2},
         ["output_cross: 0 adds nothing", "use_wide has no effect",
          "wide_width, wide_l2_reg, wide_per_task have no effect with wide_type: 'x'"]),
        ({"use_wide": False, "wide_type": "LR", "feature_cross": 2, "wide_group": "wied"},
         ["wide_type, feature_cross, wide_group have no effect without a wide side"]),
        ({"task_structs": THREE},
         ["output_cross: 0 changes nothing for 'a': one number more for all of its classes"]),
        ({"task_structs": THREE, "feature_cross": 3, "output_cross": 1}, []),
    ],
)  # fmt: skip
def test_settings_that_others_make_void_have_one_line(
    settings: dict[str, Any], wanted: list[str]
) -> None:
    """S0.13, S0.14, S0.50: LR has no latents, FM no batch norm, without a side there is nothing;
    what is added to all classes alike does not change their probabilities."""
    found = said(settings, GROUPS)
    assert len(found) == len(wanted), found
    for line, words in zip(found, wanted, strict=True):
        assert words in line


def test_without_its_group_an_unset_wide_side_is_off_and_a_line_says_so() -> None:
    """S0.12: true without a group is an error only where it was written."""
    groups = {"mmoe": GROUPS["mmoe"]}
    [line] = said({}, groups)
    assert line == "mmoe_v2 has no wide side: there is no feature group 'wide'"
    assert v2(groups=groups).model.body.wide is None
    with pytest.raises(ConfigError, match="there is no feature group 'wide'"):
        v2(groups=groups, use_wide=True)
