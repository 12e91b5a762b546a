"""Pipelines in the forms of EasyRec's samples: converted, loaded, trained on rows, exported."""

from pathlib import Path

import numpy as np
import pytest
from drafting.easyrec.pipelines import (
    BUILT_IN,
    CENSUS,
    COMPONENTS,
    DEPRECATED,
    FORMS,
    HIVE,
    ODPS,
    convert,
    write_rows,
)
from google.protobuf import text_format

from tzmmoe import Pipeline as Runs
from tzmmoe.protos.pipeline_pb2 import Pipeline

START = "nn.init.trunc_normal_,mean=0,std=0.005,a=-0.01,b=0.01"  # 0.01 / sqrt(4)
LAYERS = "activation: 'nn.ReLU' use_bn: true"
TOWER = f"""
    task_towers {{
      tower_name: "NAME" label_name: "LABEL" metrics {{ auc {{}} }} num_class: 1 weight: 1
      losses {{ binary_cross_entropy {{}} }} mlp {{ hidden_units: [6, 4] {LAYERS} }}
    }}"""
BY_HAND = f"""
train_input_path: "train.csv"
eval_input_path: "eval.csv"
model_dir: "experiments/mmoe"
train_config {{
  optimizer {{
    adam_optimizer {{ lr: 0.001 }}
    exponential_decay_learning_rate {{
      decay_size: 1000 decay_factor: 0.5 min_learning_rate: 1e-07
    }}
  }}
  num_steps: 6 save_checkpoints_steps: 5 log_step_count_steps: 2 keep_checkpoint_max: 10
}}
data_config {{
  batch_size: 16 eval_batch_size: 4096
  label_fields: ["clk", "buy"]
  dataset_type: CsvDataset quoting: OFF
  input_fields {{ input_name: "clk" input_type: INT32 }}
  input_fields {{ input_name: "buy" input_type: INT32 }}
  input_fields {{ input_name: "user" input_type: STRING }}
  input_fields {{ input_name: "tags" input_type: STRING }}
  input_fields {{ input_name: "price" input_type: INT32 }}
  fg_mode: FG_NORMAL hash_function: FARM_HASH
  shuffle: true shuffle_buffer_size: 2
}}
feature_configs {{
  id_feature {{ feature_name: "user" embedding_dim: 4 hash_bucket_size: 40 init_fn: "{START}" }}
}}
feature_configs {{
  id_feature {{
    feature_name: "tags" embedding_dim: 4 hash_bucket_size: 40 separator: "|" init_fn: "{START}"
  }}
}}
feature_configs {{
  id_feature {{
    feature_name: "price" embedding_dim: 4 num_buckets: 50 na_values: "-1" init_fn: "{START}"
  }}
}}
model_config {{
  feature_groups {{
    group_name: "all" feature_names: ["user", "tags", "price"] group_type: DEEP
  }}
  mmoe {{
    expert_mlp {{ hidden_units: [8, 6] {LAYERS} }}
    num_expert: 3
    {TOWER.replace("NAME", "ctr").replace("LABEL", "clk")}
    {TOWER.replace("NAME", "cvr").replace("LABEL", "buy")}
    l2_regularization: 1e-06
  }}
  embedding_regularization: 5e-05
  dense_start: KERAS
}}
"""


def written(made) -> Pipeline:
    return text_format.Parse(made.text, Pipeline())


def test_the_built_in_form_becomes_the_config_that_one_would_write_by_hand(tmp_path: Path) -> None:
    assert written(convert(tmp_path, BUILT_IN)) == text_format.Parse(BY_HAND, Pipeline())


def test_the_deprecated_form_without_labels_becomes_the_same_model(tmp_path: Path) -> None:
    """Its unset l2_regularization aside: here it is set in both."""
    new, old = written(convert(tmp_path, BUILT_IN)), written(convert(tmp_path, DEPRECATED))
    for tower in new.model_config.mmoe.task_towers:
        tower.ClearField("label_name")
    assert old == new


def test_census_over_hive_shares_a_table_and_drops_out_in_experts(tmp_path: Path) -> None:
    made = convert(tmp_path, HIVE)
    assert [*made.features] == ["hours", *CENSUS]
    assert {made.features[name].embedding_name for name in CENSUS} == {"feature"}
    hours = made.features["hours"]
    assert hours.normalizer == "method=minmax,min=20.0,max=60.0"
    assert list(hours.boundaries) == [0, 0.25, 0.5, 0.75]
    assert float(hours.default_value) == (40 - 20) / (60 - 20)
    columns = [field.input_name for field in made.data.input_fields]
    assert columns == ["clk", "buy", *CENSUS, "hours"]
    [group] = made.pipeline.model_config.feature_groups
    assert list(group.feature_names) == [*CENSUS, "hours"]
    model = made.pipeline.model_config.mmoe
    assert list(model.expert_mlp.dropout_ratio) == pytest.approx([0.1, 0.1])
    assert model.l2_regularization == 1e-4, "EasyRec's default is written out"
    assert (made.train.num_steps, made.train.num_epochs) == (6, 1)
    for name in ("hive_train_input", "hive_eval_input"):
        assert f"{name}: the block was not read" in made.plain
    assert "train_input_path" not in made.text


def test_tables_of_maxcompute_are_left_out_and_filled_when_training(tmp_path: Path) -> None:
    made = convert(tmp_path, ODPS)
    assert not made.data.HasField("dataset_type")
    assert "odps://project/tables/train is not a path here; pass --train_input_path" in made.plain
    assert "eval_input_path: it is not set; pass --eval_input_path" in made.plain
    assert "oss://bucket/mmoe is not a path here; pass --model_dir" in made.plain
    assert "data_config.input_type: OdpsInputV2 has no counterpart" in made.plain
    assert not {*PATHS} & {field.name for field, _ in written(made).ListFields()}


PATHS = ("train_input_path", "eval_input_path", "model_dir")


@pytest.mark.parametrize("form", FORMS)
def test_what_was_converted_trains_evaluates_and_exports(tmp_path: Path, form: str) -> None:
    made = convert(tmp_path, FORMS[form])
    run = Runs.load(tmp_path / "ours.config", settings=write_rows(tmp_path, made.config))
    results = run.fit()
    assert {"auc_ctr", "auc_cvr"} <= results.keys()
    assert np.isfinite([results[key] for key in results]).all()
    assert (tmp_path / "model/model.ckpt-5").exists(), "six steps"
    run.export(tmp_path / "export")
    assert list((tmp_path / "export").iterdir())


def test_components_keep_their_blocks_and_their_towers_say_what_they_were(tmp_path: Path) -> None:
    made = convert(tmp_path, COMPONENTS)
    body = made.pipeline.model_config.backbone
    assert [block.name for block in body.blocks] == ["all", "senet", "mmoe"]
    assert [tower.tower_name for tower in body.task_towers] == ["ctr", "cvr"]
    assert list(body.task_towers[0].mlp.hidden_units) == [6, 4]
    assert body.task_towers[0].mlp.use_bn, "EasyRec's default is written out"
    own = "model_config.model_params.task_towers[0].dnn"
    assert f"{own} -> model_config.backbone.task_towers[0].mlp" in made.plain
    assert "hidden_units: [6, 4]  # default" not in made.text
    assert "in the experts of the built-in MMoE" not in made.plain
