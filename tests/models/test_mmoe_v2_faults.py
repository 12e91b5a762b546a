"""What MMoE V2 refuses, by the path of the field."""

from typing import Any

import pytest
from models.small_v2 import GROUPS, SMALL, made, spelled, text, v2

from tzmmoe.errors import ConfigError

V2 = "model_config.mmoe_v2"
# Settings, the path of the fault below mmoe_v2, and a part of its words.
FAULTS = [
    ({"feature_cross": 6}, "feature_cross", "is 6; give 0 to 5"),
    ({"feature_cross": -1}, "feature_cross", "is -1; give 0 to 5"),
    ({"wide_width": 0}, "wide_width", "is 0; give 1 or more"),
    ({"wide_feature": "latent"}, "wide_feature", "give auto, latents or embeddings"),
    ({"wide_feature": "latents", "wide_type": "LR"}, "wide_feature", "wide_type 'FM'"),
    ({"wide_feature": "latents", "wide_type": "raw"}, "wide_feature", "wide_type 'FM'"),
    ({"expert_layers": []}, "expert_layers", "is []; give widths above 0"),
    ({"expert_layers": [4, 0]}, "expert_layers", "is [4, 0]; give widths above 0"),
    ({"num_experts": 0}, "num_experts", "is 0; give 1 or more"),
    ({"expert_act": ["relu", "rleu"]}, "expert_act", "is 'rleu'; give one of relu"),
    ({"expert_act": ["tahn"]}, "expert_act", "did you mean 'tanh'?"),
    ({"task_hidden_act": ["softmax"]}, "task_hidden_act", "is 'softmax'; give one of relu"),
    ({"task_structs": [{"units": [4, 1], "hidden_act": ["x"]}, {"units": [1]}]},
     "task_structs[0].hidden_act", "is 'x'; give one of relu"),
    ({"expert_dropout": [1.0]}, "expert_dropout", "give 0 to below 1"),
    ({"expert_dropout": [-0.1, 0.2]}, "expert_dropout", "give 0 to below 1"),
    ({"task_dropout": [2]}, "task_dropout", "give 0 to below 1"),
    ({"task_structs": [{"units": [1]}, {"units": [4, 1], "dropout": [1]}]},
     "task_structs[1].dropout", "give 0 to below 1"),
    ({"task_structs": [{"units": [4, 1]}, {"units": []}]}, "task_structs[1].units", "is []; give"),
    ({"task_structs": [{"units": [0, 1]}, {"units": [1]}]}, "task_structs[0].units", "is [0, 1];"),
    ({"mmoe_group": "mmeo"}, "mmoe_group", "did you mean 'mmoe'?"),
    ({"use_wide": True, "wide_group": "wied"}, "wide_group", "set use_wide: false; did you mean"),
    ({"wide_group": "wied"}, "wide_group", "'wied' is not in model_config.feature_groups; add it"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "path", "words"), FAULTS)
def test_a_bad_setting_is_a_fault_at_its_field(
    settings: dict[str, Any], path: str, words: str
) -> None:
    """S0.11, S0.12, S0.14, S0.16, S0.19, S0.20, S0.22."""
    with pytest.raises(ConfigError) as error:
        v2(**settings)
    [fault] = [each for each in error.value.faults if each.path == f"{V2}.{path}"]
    assert words in fault.text
    assert len(error.value.faults) == 1


@pytest.mark.parametrize("missing", ["num_experts", "expert_layers", "task_structs"])
def test_what_is_required_is_named_when_it_is_not_set(missing: str) -> None:
    """S0.11, S0.19, S0.20."""
    content = text(SMALL, GROUPS)
    written = spelled({missing: SMALL[missing]})
    assert written in content
    content = content.replace(written, "")
    with pytest.raises(ConfigError) as error:
        made(content)
    assert [fault.path for fault in error.value.faults] == [f"{V2}.{missing}"]


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_task_structs_as_towers_are_needed(count: int) -> None:
    """S0.11: one list for each task, in their order."""
    content = text(SMALL, GROUPS)
    structs = spelled({"task_structs": SMALL["task_structs"]})
    assert structs in content
    with pytest.raises(ConfigError, match=f"has {count} entries for 2 task_towers") as error:
        made(content.replace(structs, "task_structs { units: [1] } " * count))
    assert [fault.path for fault in error.value.faults] == [f"{V2}.task_structs"]


def test_a_tower_has_no_mlp_and_no_other_number_of_classes_than_its_units() -> None:
    """S0.11: task_structs alone gives the layers and the width of the output."""
    tower = 'task_towers { tower_name: "a"'
    content = text(SMALL, GROUPS)
    for more, path in (
        ("mlp { hidden_units: 4 }", "mlp"),
        ("num_class: 3", "num_class"),
        ('relation_tower_names: "b"', "relation_tower_names"),
        ("relation_mlp { hidden_units: 4 }", "relation_mlp"),
        ("relation_dnn { hidden_units: 4 }", "relation_mlp"),
    ):
        with pytest.raises(ConfigError) as error:
            made(content.replace(tower, f"{tower} {more}"))
        paths = [fault.path for fault in error.value.faults]
        assert f"{V2}.task_towers[0].{path}" in paths


def test_all_faults_show_at_once() -> None:
    settings = {
        "num_experts": 0,
        "expert_layers": [],
        "expert_act": ["x", "y"],
        "expert_dropout": [1],
        "expert_l1_reg": -1,
        "gate_l2_reg": -1,
        "task_hidden_act": ["z"],
        "task_structs": [{"units": []}, {"units": [4, 0], "dropout": [3]}],
        "feature_cross": 9,
        "wide_width": 0,
        "wide_feature": "q",
        "mmoe_group": "other",
    }
    with pytest.raises(ConfigError) as error:
        v2(**settings)
    paths = [fault.path.removeprefix(f"{V2}.") for fault in error.value.faults]
    assert sorted(set(paths)) == sorted(
        [
            *(name for name in settings if name != "task_structs"),
            *("task_structs[0].units", "task_structs[1].units", "task_structs[1].dropout"),
        ]
    )
    assert len(paths) == len(set(paths)) + 1  # two activations of the experts
