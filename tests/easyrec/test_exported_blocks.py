"""EasyRec's ``outputs`` and ``add_to_outputs``: values of blocks as outputs of the model."""

from pathlib import Path

import pytest
from easyrec import taobao
from easyrec.test_built_in import GROUP
from messages import says
from written import loaded, said, said_of_all

ADDED = "mlp { hidden_units: [WIDTH] add_to_outputs: true }"
MLP = f'keras_layer {{ class_name: "MLP" {ADDED} }}'


def model(blocks: str, params: str = "") -> str:
    towers = "".join(
        f'task_towers {{ tower_name: "{name}" label_name: "{label}" num_class: 1 }}'
        for name, label in (("ctr", "clk"), ("cvr", "buy"))
    )
    return f"""
model_config {{
  model_class: "MultiTaskModel"
  feature_groups {{ group_name: "all" {GROUP} }}
  backbone {{
    blocks {{
      name: "deep" inputs {{ feature_group_name: "all" }}
      keras_layer {{ class_name: "MLP" mlp {{ hidden_units: [8] }} }}
    }}
    {blocks}
    concat_blocks: "deep"
  }}
  model_params {{ {params} {towers} }}
}}
"""


def block(layers: str) -> str:
    text = f'blocks {{ name: "side" inputs {{ block_name: "deep" }} {layers} }}'
    return text.replace("WIDTH", "3")


FORMS = {
    "one layer": (MLP, {"side": 3}),
    "by class_name": (
        'keras_layer { class_name: "MLP" st_params { '
        'fields { key: "hidden_units" value { list_value { values { number_value: 3 } } } } '
        'fields { key: "add_to_outputs" value { bool_value: true } } } }',
        {"side": 3},
    ),
    "second of two layers": (
        f'layers {{ keras_layer {{ class_name: "Dense" dense {{ units: 2 }} }} }} '
        f"layers {{ {MLP} }}",
        {"side_l1": 3},
    ),
    "first of two layers": (
        f"layers {{ {MLP} }} "
        'layers { keras_layer { class_name: "Dense" dense { units: 2 } } }',
        {"side_l0": 3},
    ),
    "side by side": (f"repeat {{ num_repeat: 2 {MLP} }}", {"side_0": 3, "side_1": 3}),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_mlp_with_add_to_outputs_is_an_output_by_the_name_of_its_layer(tmp_path, form) -> None:
    layers, outputs = FORMS[form]
    made = taobao.model(tmp_path, model(block(layers)), dim=4, rows=40)
    assert made.tasks.further == made.final_tasks.further == outputs


def test_outputs_of_model_params_name_any_block_and_none_twice(tmp_path: Path) -> None:
    text = model(block(MLP), 'outputs: "deep" outputs: "side"')
    made = taobao.model(tmp_path, text, dim=4, rows=40)
    assert made.tasks.further == {"deep": 8, "side": 3}


def test_an_unknown_output_is_a_fault_at_the_users_own_line(tmp_path: Path) -> None:
    text = taobao.config(model(block(MLP), 'outputs: "seid"'))
    [line] = said_of_all(loaded(tmp_path, text))
    says(line, "model_params.outputs[0]: 'seid' is not a block; did you mean 'side'?")


@pytest.mark.parametrize(
    "layers",
    [
        f"recurrent {{ num_steps: 2 {MLP} }}",
        'keras_layer { class_name: "MaskNet" masknet { mask_blocks { output_size: 2 '
        f"reduction_factor: 1 }} {ADDED} }} }}",
    ],
)
def test_an_mlp_inside_something_else_cannot_be_an_output(tmp_path: Path, layers: str) -> None:
    [line] = said(loaded(tmp_path, taobao.config(model(block(layers)))))
    says(line, "add_to_outputs: works only in", "give this MLP a block of its own")
