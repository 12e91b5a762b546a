"""EasyRec's samples from components are converted, trained, evaluated and exported."""

import math
from pathlib import Path

import pytest
from cases import some
from drafting.easyrec.component_forms import FORMS
from drafting.easyrec.pipelines import convert, line_of, refused, write_rows

from tzmmoe import Pipeline as Runs
from tzmmoe.drafting.easyrec.differences import DIFFERENCES
from tzmmoe.protos.model_pb2 import DEEP, WIDE


@pytest.mark.parametrize("form", some(FORMS, *list(FORMS)[::2]))
def test_a_sample_from_components_trains_evaluates_and_exports(tmp_path: Path, form: str) -> None:
    made = convert(tmp_path, FORMS[form])
    settings = write_rows(tmp_path, made.config)
    runs = Runs.load(tmp_path / "ours.config", settings=settings)
    runs.fit()
    results = runs.evaluate()
    assert {"auc_ctr", "auc_cvr"} <= set(results)
    assert all(math.isfinite(value) for value in results.values())
    runs.export(str(tmp_path / "export"))
    assert (tmp_path / "export/model.pt2").exists()


def test_settings_of_another_strategy_are_reported_as_without_effect(tmp_path: Path) -> None:
    said = convert(tmp_path, FORMS["mirrored strategy"]).plain
    assert "train_distribute" in said
    assert "num_gpus_per_worker" in said


def test_wide_groups_and_their_width_are_kept_and_a_vocabulary_size_is_reported(tmp_path) -> None:
    made = convert(tmp_path, FORMS["WIDE groups, raw_input and embedding_layer"])
    model = made.pipeline.model_config
    types = {group.group_name: group.group_type for group in model.feature_groups}
    assert types == {"all": DEEP, "wide": WIDE, "numbers": DEEP}
    words = {block.name: block.WhichOneof("layer") for block in model.backbone.blocks}
    assert (words["wide"], words["raw"], words["own"]) == (
        "input_layer",
        "raw_input",
        "embedding_layer",
    )
    assert model.backbone.blocks[0].input_layer.wide_output_dim == 4
    assert "model_config.backbone.blocks[4].embedding_layer.vocab_size" in made.said.idle
    assert "vocab_size" not in made.text


def test_the_towers_of_a_built_in_model_on_a_backbone_are_those_of_the_backbone(
    tmp_path: Path,
) -> None:
    """With EasyRec's default of their penalty, if that is not written."""
    text = FORMS["DBMTL on a backbone"].replace("l2_regularization: 1e-6", "")
    model = convert(tmp_path, text).pipeline.model_config
    assert model.WhichOneof("model") == "backbone"
    ctr, cvr = model.backbone.task_towers
    assert (ctr.tower_name, cvr.tower_name) == ("ctr", "cvr")
    assert list(cvr.relation_tower_names) == ["ctr"]
    assert list(cvr.relation_mlp.hidden_units) == [4]
    assert model.backbone.l2_regularization == 1e-4


def test_a_fault_of_a_tower_on_a_backbone_has_the_users_path_and_line(tmp_path: Path) -> None:
    text = FORMS["DBMTL on a backbone"].replace('label_name: "buy"', 'label_name: "bye"')
    [line] = refused(tmp_path, text)
    number = line_of(text, 'label_name: "bye"')
    assert f":{number}: " in line
    assert "model_config.dbmtl.task_towers[1].label_name: 'bye'" in line


@pytest.mark.parametrize(
    ("form", "change", "name"),
    [
        ("several losses", ("", ""), "pairs"),
        ("several losses", ("PAIR_WISE_LOSS", "F1_REWEIGHTED_LOSS"), "f1"),
        (
            "simple multi-task",
            ("input_layer {}", "input_layer { do_batch_norm: true feature_dropout_rate: 0.1 }"),
            "feature_dropout",
        ),
        ("case 10, MaskNet, PPNet and MMoE", ("", ""), "mmoe_layer"),
        ("WIDE groups, raw_input and embedding_layer", ("", ""), "embedding_layer"),
    ],
)
def test_what_works_differently_is_told_of_the_pipelines_it_concerns(
    tmp_path: Path, form: str, change: tuple[str, str], name: str
) -> None:
    assert change[0] in FORMS[form]
    told = convert(tmp_path, FORMS[form].replace(*change)).said.differences
    assert DIFFERENCES[name] in told
    others = {each for each, line in DIFFERENCES.items() if line in told}
    assert not others & (
        {"pairs", "f1", "feature_dropout", "mmoe_layer", "embedding_layer"} - {name}
    )


@pytest.mark.parametrize(
    ("form", "change", "path", "words"),
    [
        ("case 8, MMoE", ("num_task: 2", "num_task: 3"), "backbone.blocks[0]", "task_towers"),
        ("AITM", ('block_name: "share"', 'block_name: "shere"'), "block_name", "'share'"),
        ("MMoE on MMoE", ("tf.concat(x, axis=1)", "tf.concat(x, axis=0)"), "input_fn", "axis"),
        ("DBMTL", ('names: "ctr"', 'names: "cvr"'), "model_params.task_towers[1]", "cvr"),
    ],
)
def test_faults_of_blocks_and_relations_are_told_with_the_line_and_nothing_is_written(
    tmp_path: Path, form: str, change: tuple[str, str], path: str, words: str
) -> None:
    text = FORMS[form].replace(*change, 1)
    assert text != FORMS[form]
    lines = refused(tmp_path, text)
    assert any(path in line and words in line for line in lines), lines
    assert all(line.startswith("theirs.config:") for line in lines)
    assert not (tmp_path / "ours.config").exists()
