"""The config that one would write by hand for the job of the seed."""

from google.protobuf import text_format

from tzmmoe.protos.pipeline_pb2 import Pipeline

BY_HAND = """
train_input_path: "{folder}/dataset/train_data.csv"
eval_input_path: "{folder}/dataset/vali_data.csv"
test_input_path: "{folder}/dataset/test_data.csv"
model_dir: "experiments/mmoe_model_v2"
train_config {{
  optimizer {{
    adam_optimizer {{ lr: 0.001 beta1: 0.9 beta2: 0.999 eps: 1e-7 }}
    constant_learning_rate {{}}
  }}
  num_epochs: 3
  save_checkpoints_epochs: 1
  num_samples: 2938797
  num_val_samples: 1567359
  mixed_precision: ""
  grad_process: ""
  use_tensorboard: true
  tensorboard {{ profile_batch: [200, 300] }}
  train_speed_logger {{ every_batches: 1000 with_metrics: true }}
  early_stopping {{
    monitor: "val_loss" mode: "min" patience: 3 min_delta: 0.001 restore_best_weights: true
  }}
}}
eval_config {{
  batch_size: 256
  output_file: "{folder}/mmoev2-fm-2-res.json"
  task_metrics {{ name: "is_click" {metrics} }}
  task_metrics {{ name: "play_num1" {metrics} }}
  task_metrics {{ name: "is_favor" {metrics} }}
}}
data_config {{
  batch_size: 256
  eval_batch_size: 256
  label_fields: ["is_click", "play_num1", "is_favor"]
  fg_mode: FG_DAG
  dataset_type: CsvDataset
  delimiter: ","
  with_header: true
  shuffle: false
  drop_remainder: false
}}
{features}
model_config {{
  feature_groups {{
    group_name: "wide"
    feature_names: ["age", "age_level", "sex", "degree", "city_level", "os_type", "genre_0"]
    group_type: DEEP
  }}
  feature_groups {{
    group_name: "mmoe"
    feature_names: ["age", "age_level", "sex", "bd_play_cnt", "bd_play_time", "wifi_play_cnt"]
    group_type: DEEP
  }}
  mmoe_v2 {{
    name: "mmoe_model_v2"
    {towers}
    task_structs {{ units: [64, 16, 1] }}
    task_structs {{ units: [64, 16, 1] }}
    task_structs {{ units: [64, 16, 1] }}
    task_use_bias: true
    task_hidden_act: "relu"
    task_output_act: "sigmoid"
    task_use_bn: false
    task_dropout: 0
    task_l1_reg: 0
    task_l2_reg: 0.001
    num_experts: 4
    expert_layers: [128, 64]
    expert_use_bias: true
    expert_act: "relu"
    expert_dropout: 0
    expert_use_bn: false
    expert_l1_reg: 0
    expert_l2_reg: 0.001
    gate_use_bias: true
    gate_l1_reg: 0
    gate_l2_reg: 0
    share_gates: false
    use_wide: true
    wide_type: "FM"
    wide_width: 8
    feature_cross: 2
    output_cross: 0
    wide_l1_reg: 0
    wide_l2_reg: 0.001
    wide_group: "wide"
    mmoe_group: "mmoe"
    wide_per_task: false
    wide_output_is_prob: false
    wide_feature: "auto"
    dedup_cross_features: true
  }}
}}
runtime_config {{ device: "cuda" timeout: "100d" }}
"""
METRICS = "metrics { auc { thresholds: 200 } } metrics { binary_accuracy { threshold: 0.5 } }"
TOWER = """
task_towers {{
  tower_name: "{name}" label_name: "{name}" num_class: 1 weight: 1 {metrics}
  losses {{ binary_cross_entropy {{ label_smoothing: 0 }} }}
}}
"""
FEATURE = """
feature_configs {{
  id_feature {{
    feature_name: "{name}" num_buckets: {rows} embedding_dim: {dim} pooling: "mean"
    default_value: "0" out_of_range: MODULO init_fn: "nn.init.uniform_,a=-0.05,b=0.05"
  }}
}}
"""
ROWS = {"age": 33, "age_level": 10, "sex": 4, "degree": 9, "city_level": 9, "os_type": 10}
ROWS |= {"genre_0": 61, "bd_play_cnt": 59, "bd_play_time": 59, "wifi_play_cnt": 51}
NARROW = ("bd_play_cnt", "bd_play_time", "wifi_play_cnt")


def by_hand(folder) -> Pipeline:
    """The config that a reader of the seed would write for it."""
    towers = [TOWER.format(name=n, metrics=METRICS) for n in ("is_click", "play_num1", "is_favor")]
    features = [
        FEATURE.format(name=name, rows=rows, dim=8 if name in NARROW else 80)
        for name, rows in ROWS.items()
    ]
    text = BY_HAND.format(
        folder=folder, metrics=METRICS, towers="".join(towers), features="".join(features)
    )
    return text_format.Parse(text, Pipeline())
