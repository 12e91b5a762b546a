"""EasyRec's RankModel, one task on a backbone; and the classes that are refused by name."""

from pathlib import Path

import pytest
from easyrec import taobao
from easyrec.test_built_in import GROUP
from written import loaded, said, said_of_all

from tzmmoe.models.tower import Tower

MODEL = f"""
model_config {{
  model_class: "RankModel"
  label_name: "buy"
  feature_groups {{ group_name: "all" {GROUP} }}
  backbone {{
    blocks {{
      name: "deep" inputs {{ feature_group_name: "all" }}
      keras_layer {{ class_name: "MLP" mlp {{
        hidden_units: [8, UNITS] use_final_bn: false final_activation: "linear"
      }} }}
    }}
  }}
  model_params {{ l2_regularization: 1e-4 }}
}}
"""


def tower(folder: Path, units: int, more: str = "") -> Tower:
    text = MODEL.replace("UNITS", str(units)).replace(
        'label_name: "buy"', f'label_name: "buy" {more}'
    )
    made = taobao.model(folder, text, dim=4, rows=40)
    [task] = made.tasks.tasks
    assert (task.name, task.label) == ("buy", "buy")
    return made.model.towers["tower_buy"]


@pytest.mark.parametrize(
    ("units", "more", "has_linear"),
    [
        (1, "", False),
        (4, "", True),
        (3, "num_class: 3 loss_type: CLASSIFICATION", False),
        (4, "num_class: 3 losses { loss_type: CLASSIFICATION }", True),
    ],
)
def test_a_linear_layer_is_added_only_where_the_width_is_not_the_number_of_logits(
    tmp_path: Path, units: int, more: str, has_linear: bool
) -> None:
    made = tower(tmp_path, units, more)
    assert made.mlp is None
    assert (made.linear is not None) == has_linear


@pytest.mark.parametrize("name", ["MatchModel", "CMBF", "Uniter"])
def test_classes_for_other_tasks_are_refused_by_name(tmp_path: Path, name: str) -> None:
    text = MODEL.replace("RankModel", name).replace('label_name: "buy"', "").replace("UNITS", "1")
    lines = said(loaded(tmp_path, taobao.config(text)))
    assert f"model_class: is '{name}', which tzmmoe does not have; it " in lines[0]


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("variational_dropout { regularization_lambda: 0.01 }", "feature_dropout_rate"),
        ("kd { loss_type: KL_DIVERGENCE_LOSS }", "teacher"),
    ],
)
def test_words_for_other_tasks_are_refused_with_what_is_near(
    tmp_path: Path, word: str, near: str
) -> None:
    text = MODEL.replace("UNITS", "1").replace("model_params", f"{word} model_params")
    [line] = said(loaded(tmp_path, taobao.config(text)))
    assert "a word of EasyRec that tzmmoe does not have; " in line
    assert near in line


def test_the_fields_of_a_rank_model_are_refused_for_others(tmp_path: Path) -> None:
    text = MODEL.replace("RankModel", "MultiTaskModel").replace("UNITS", "4")
    lines = said(loaded(tmp_path, taobao.config(text)))
    assert any("label_name: is for model_class" in line for line in lines)


def test_an_unknown_layer_has_one_fault_and_no_consequences(tmp_path: Path) -> None:
    text = MODEL.replace("UNITS", "1").replace('class_name: "MLP" mlp', 'class_name: "MPL" mlp')
    [line] = said_of_all(loaded(tmp_path, taobao.config(text)))
    assert "class_name: is 'MPL', which is not a layer; did you mean 'MLP'?" in line


@pytest.mark.parametrize("field", ["activation", "final_activation"])
def test_a_softmax_inside_an_mlp_is_refused_with_the_layer_to_add(tmp_path, field: str) -> None:
    text = MODEL.replace("UNITS", "3").replace('final_activation: "linear"', f'{field}: "softmax"')
    [line] = said_of_all(loaded(tmp_path, taobao.config(text)))
    words = "is 'softmax', which is a layer here; write 'linear', and add a Softmax layer"
    assert f"mlp.{field}: {words}" in line


def test_a_model_beside_a_backbone_is_told_where_its_parts_go(tmp_path: Path) -> None:
    text = MODEL.replace("RankModel", "MMoE").replace('label_name: "buy"', "")
    text = text.replace("UNITS", "3").replace("model_params", "mmoe { num_expert: 2 } model_params")
    lines = said(loaded(tmp_path, taobao.config(text)))
    assert any("write the network as blocks and the towers in model_params" in x for x in lines)
