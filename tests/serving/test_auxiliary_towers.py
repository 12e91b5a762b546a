"""An export has no trace of auxiliary towers but what other towers read of them."""

import json
from pathlib import Path

import pytest
import torch
from messages import fails
from serving.small import Small, assert_same, random_inputs

from tzmmoe.errors import ConfigError
from tzmmoe.serving.program import load, program_inputs

FEATURES = """
feature_configs { id_feature { feature_name: "user" num_buckets: 9 embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "price" } }
"""
CONFIG = """
data_config {{ label_fields: ["a", "b", "c"] num_workers: 0 fg_mode: FG_DAG }}
{features}
model_config {{
  feature_groups {{ group_name: "all" feature_names: ["user", "price"] }}
  {model}
}}
"""
GATE = "gate_mlp { hidden_units: [3] activation: 'nn.PReLU' use_bn: true }"
MLP = "mlp { hidden_units: [7] use_bn: true }"
PLE = """ple {
  extraction_networks {
    expert_num_per_task: 2 share_num: 1
    task_expert_net { hidden_units: [6] } share_expert_net { hidden_units: [6] }
  }
  extraction_networks {
    expert_num_per_task: 2 share_num: 2
    task_expert_net { hidden_units: [5] use_ln: true } share_expert_net { hidden_units: [5] }
  }
"""
V2 = """mmoe_v2 {
  mmoe_group: "all" num_experts: 2 expert_layers: [5] gate_l2_reg: 0.1
  task_structs { units: [3, 1] } task_structs { units: [3, 1] } task_structs { units: [3, 1] }
"""
MODELS = {
    "mmoe": f"mmoe {{ num_expert: 3 expert_mlp {{ hidden_units: [5] }} {GATE}",
    "dbmtl": "dbmtl { bottom_mlp { hidden_units: [6] } expert_mlp { hidden_units: [5] }",
    "dbmtl without experts": "dbmtl { bottom_mlp { hidden_units: [6] }",
    "ple": PLE,
    "ple of one level": PLE.partition(
        "  extraction_networks {\n    expert_num_per_task: 2 share_num: 2"
    )[0],
    "shared_bottom": "shared_bottom { bottom_mlp { hidden_units: [6] }",
    "simple_multi_task": "simple_multi_task {",
    "mmoe_v2": V2,
    "mmoe_v2 with one gate": f"{V2} share_gates: true",
}
# Those that keep all of the body.
WHOLE = {
    "mmoe_v2 with a wide side": f"""{V2} wide_group: "all" wide_per_task: true feature_cross: 3""",
    "backbone": """backbone {
      blocks {
        name: "deep" inputs { feature_group_name: "all" }
        layers { keras_layer { mlp { hidden_units: [6] } } }
      }
      outputs: "deep"
    """,
}
# What the gate, the experts or the tower of one task learns, of an input of 5 numbers.
BODY = {
    "mmoe": (5 + 1) * 3 - 3 + 1 + 2 * 3 + (3 + 1) * 3,  # batch norm has no bias before it
    "dbmtl": (6 + 1) * 3,
    "dbmtl without experts": 0,
    "ple": 2 * (6 + 1) * 5 + 2 * 2 * 5 + (6 + 1) * 4,
    "ple of one level": 2 * (5 + 1) * 6 + (5 + 1) * 3,
    "shared_bottom": 0,
    "simple_multi_task": 0,
    "mmoe_v2": (5 + 1) * 2,
    "mmoe_v2 with one gate": 0,
}
HIDDEN = {"shared_bottom": 6, "dbmtl without experts": 6, "ple of one level": 6}


def small(folder: Path, model: str, auxiliary: str, further: str = "") -> Small:
    """The towers a, b and c, of which those in ``auxiliary`` are auxiliary."""
    layers = "" if model.startswith("mmoe_v2") else MLP
    towers = "".join(
        f'task_towers {{ tower_name: "{name}" label_name: "{name}" {layers} '
        f"auxiliary: {str(name in auxiliary).lower()} {further if name == 'c' else ''} }}\n"
        for name in "abc"
    )
    text = CONFIG.format(features=FEATURES, model=f"{(MODELS | WHOLE)[model]} {towers} }}")
    return Small.of(folder, text)


def exported(model: Small, folder: Path, *, auxiliary: bool = False) -> Path:
    return model.export(folder, tasks=model.session.served(auxiliary=auxiliary))


def numbers_of(folder: Path) -> int:
    """How many numbers the parameters of a program hold."""
    return sum(parameter.numel() for parameter in load(folder / "model.pt2").parameters())


def outputs(folder: Path, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return load(folder / "model.pt2").module()(inputs)


@pytest.mark.parametrize("auxiliary", ["a", "b", "bc"])
@pytest.mark.parametrize("model", [*MODELS, *WHOLE])
def test_what_is_exported_gives_what_the_whole_model_gives_for_these_towers(
    tmp_path: Path, model: str, auxiliary: str
) -> None:
    whole = small(tmp_path, model, auxiliary)
    inputs = random_inputs(whole.layout, num_rows=20, most_ids=2)
    expected = {
        name: values
        for name, values in whole.outputs(inputs).items()
        if name.rpartition("_")[2] not in auxiliary
    }
    folder = exported(whole, tmp_path / "export")
    assert_same(outputs(folder, program_inputs(inputs, whole.layout)), expected)
    assert list(json.loads((folder / "signature.json").read_text())["outputs"]) == list(expected)


@pytest.mark.parametrize("model", MODELS)
def test_an_export_has_neither_the_tower_nor_what_the_body_has_for_it_alone(
    tmp_path: Path, model: str
) -> None:
    whole = small(tmp_path, model, "b")
    width = HIDDEN.get(model, 5)
    tower = width * 7 + 2 * 7 + 7 + 1  # a layer with batch norm has no bias
    if model.startswith("mmoe_v2"):
        tower = (width + 1) * 3 + 3 + 1
    without = exported(whole, tmp_path / "without")
    everything = exported(whole, tmp_path / "all", auxiliary=True)
    assert numbers_of(everything) - numbers_of(without) == tower + BODY[model]
    sizes = [(folder / "model.pt2").stat().st_size for folder in (without, everything)]
    assert sizes[0] < sizes[1]


def test_a_tower_that_others_read_stays_without_outputs(tmp_path: Path) -> None:
    reads = 'relation_tower_names: "b" relation_mlp { hidden_units: [3] }'
    whole = small(tmp_path, "mmoe", "ab", reads)
    inputs = random_inputs(whole.layout, num_rows=20, most_ids=2)
    expected = {n: v for n, v in whole.outputs(inputs).items() if n.endswith("_c")}
    folder = exported(whole, tmp_path / "export")
    assert_same(outputs(folder, program_inputs(inputs, whole.layout)), expected)
    names = [name for name, _ in load(folder / "model.pt2").named_parameters()]
    assert any("tower_b" in name for name in names)
    assert not any("tower_a" in name for name in names)


ESMM = """esmm {{
  bottom_mlp {{ hidden_units: [6] }}
  ctr_tower {{ label_name: "a" auxiliary: {ctr} }} cvr_tower {{ label_name: "b" auxiliary: {cvr} }}
}}"""


def esmm(folder: Path, ctr: str, cvr: str) -> Small:
    model = ESMM.format(ctr=ctr, cvr=cvr)
    text = CONFIG.format(features=FEATURES, model=model).replace(', "c"', "")
    return Small.of(folder, text)


def test_esmm_without_outputs_of_the_click_still_multiplies_by_its_probability(
    tmp_path: Path,
) -> None:
    whole = esmm(tmp_path, "true", "false")
    inputs = random_inputs(whole.layout, num_rows=20, most_ids=2)
    found = outputs(exported(whole, tmp_path / "export"), program_inputs(inputs, whole.layout))
    before = whole.outputs(inputs)
    assert list(found) == [name for name in before if not name.endswith("_ctr")]
    product = before["probs_ctr"].double() * before["probs_cvr"].double()
    torch.testing.assert_close(found["probs_ctcvr"].double(), product, rtol=1e-5, atol=0)


def test_esmm_with_an_auxiliary_conversion_exports_the_click_alone(tmp_path: Path) -> None:
    whole = esmm(tmp_path, "false", "true")
    inputs = random_inputs(whole.layout, num_rows=20, most_ids=2)
    folder = exported(whole, tmp_path / "export")
    expected = {n: v for n, v in whole.outputs(inputs).items() if n.endswith("_ctr")}
    assert_same(outputs(folder, program_inputs(inputs, whole.layout)), expected)
    everything = exported(whole, tmp_path / "all", auxiliary=True)
    bottom_and_tower = (5 + 1) * 6 + 6 + 1
    assert numbers_of(everything) - numbers_of(folder) == bottom_and_tower


@pytest.mark.parametrize("model", ["mmoe", "ple"])
def test_a_model_that_was_exported_is_as_it_was(tmp_path: Path, model: str) -> None:
    whole = small(tmp_path, model, "b")
    inputs = random_inputs(whole.layout, num_rows=5, most_ids=2)
    before = whole.outputs(inputs)
    exported(whole, tmp_path / "export")
    assert_same(whole.outputs(inputs), before, tolerance=0)


def test_towers_that_are_all_auxiliary_are_refused(tmp_path: Path) -> None:
    with fails(ConfigError, "model_config.mmoe", "every tower is auxiliary", "remove auxiliary"):
        small(tmp_path, "mmoe", "abc")
