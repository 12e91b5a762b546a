"""Whole pipelines in EasyRec's forms, made-up rows for them, and what becomes of them."""

from pathlib import Path

import numpy as np
import pytest
from written import load

from tzmmoe.config import Config
from tzmmoe.drafting.easyrec import conversion
from tzmmoe.drafting.report import Report
from tzmmoe.errors import ConfigError

TRAIN = """
train_config {
  optimizer_config {
    adam_optimizer {
      learning_rate {
        exponential_decay_learning_rate {
          initial_learning_rate: 0.001 decay_steps: 1000 decay_factor: 0.5 min_learning_rate: 1e-07
        }
      }
    }
    use_moving_average: false
  }
  num_steps: 6
  sync_replicas: true
  save_checkpoints_steps: 5
  log_step_count_steps: 2
}
"""
EVAL = "eval_config { metrics_set { auc {} } }\n"
TOWER = """
    task_towers {
      tower_name: "NAME" label_name: "LABEL"
      dnn { hidden_units: [6, 4] }
      num_class: 1 weight: 1.0
      loss_type: CLASSIFICATION
      metrics_set: { auc {} }
    }
"""
TOWERS = "".join(
    TOWER.replace("NAME", name).replace("LABEL", label)
    for name, label in (("ctr", "clk"), ("cvr", "buy"))
)
BUILT_IN = f"""
train_input_path: "train.csv"
eval_input_path: "eval.csv"
model_dir: "experiments/mmoe"
{TRAIN}{EVAL}
data_config {{
  batch_size: 16
  label_fields: "clk"
  label_fields: "buy"
  prefetch_size: 32
  input_type: CSVInput
  input_fields {{ input_name: "clk" input_type: INT32 }}
  input_fields {{ input_name: "buy" input_type: INT32 }}
  input_fields {{ input_name: "user" input_type: STRING }}
  input_fields {{ input_name: "tags" input_type: STRING }}
  input_fields {{ input_name: "price" input_type: INT32 }}
}}
feature_config: {{
  features {{ input_names: "user" feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 40 }}
  features {{
    input_names: "tags" feature_type: TagFeature embedding_dim: 4 hash_bucket_size: 40
    separator: "|"
  }}
  features {{ input_names: "price" feature_type: IdFeature embedding_dim: 4 num_buckets: 50 }}
}}
model_config {{
  model_class: "MMoE"
  feature_groups {{
    group_name: "all" feature_names: "user" feature_names: "tags" feature_names: "price"
    wide_deep: DEEP
  }}
  mmoe {{
    expert_dnn {{ hidden_units: [8, 6] }}
    num_expert: 3
    {TOWERS}
    l2_regularization: 1e-06
  }}
  embedding_regularization: 5e-05
}}
"""
DEPRECATED = BUILT_IN.replace(
    "expert_dnn { hidden_units: [8, 6] }\n    num_expert: 3",
    "\n".join(
        f'experts {{ expert_name: "expert{i}" dnn {{ hidden_units: [8, 6] }} }}' for i in range(3)
    ),
)
DEPRECATED = DEPRECATED.replace('label_name: "clk"', "").replace('label_name: "buy"', "")

# The columns of the census: categories that share a table, and numbers.
CENSUS = [f"c{n}" for n in range(1, 6)]
OF_CENSUS = "".join(
    f"""
  features {{
    input_names: "{name}" feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 60
    embedding_name: "feature"
  }}"""
    for name in CENSUS
)
HIVE = f"""
hive_train_input {{
  host: "192.168.0.1" username: "admin" port: 10000
  table_name: "census_train" mode: TABLE no_such: [word, {{ a: 1 }}]
}}
hive_eval_input {{ host: "192.168.0.1" username: "admin" port: 10000 table_name: "census_eval" }}
{TRAIN}{EVAL}
data_config {{
  batch_size: 16
  num_epochs: 1
  auto_expand_input_fields: true
  label_fields: ["clk", "buy"]
  input_type: HiveInput
  separator: ","
  input_fields {{ input_name: "clk" input_type: INT32 }}
  input_fields {{ input_name: "buy" input_type: INT32 }}
  input_fields {{ input_name: "c[1-5]" }}
  input_fields {{ input_name: "hours" input_type: DOUBLE default_val: "40" }}
}}
feature_configs {{ input_names: "hours" feature_type: RawFeature min_val: 20 max_val: 60
  num_buckets: 4 embedding_dim: 4 }}
{OF_CENSUS.replace("features {", "feature_configs {")}
model_config: {{
  model_class: "MMoE"
  feature_groups: {{
    group_name: "all" feature_names: "c[1-5]" feature_names: "hours" wide_deep: DEEP
  }}
  mmoe {{
    expert_dnn {{ hidden_units: [8, 6] dropout_ratio: [0.1, 0.1] }}
    num_expert: 2
    {TOWERS}
  }}
}}
"""
START, END = BUILT_IN.index("  mmoe {"), BUILT_IN.index("  embedding_regularization")
COMPONENTS = (
    BUILT_IN[:START].replace('model_class: "MMoE"', 'model_class: "MultiTaskModel"')
    + f"""
  backbone {{
    blocks {{
      name: "all" inputs {{ feature_group_name: "all" }}
      input_layer {{ only_output_feature_list: true }}
    }}
    blocks {{
      name: "senet" inputs {{ block_name: "all" }}
      keras_layer {{ class_name: "SENet" senet {{ reduction_ratio: 4 }} }}
    }}
    blocks {{
      name: "mmoe" inputs {{ block_name: "senet" }}
      keras_layer {{
        class_name: "MMoE"
        mmoe {{ num_task: 2 num_expert: 3 expert_mlp {{ hidden_units: [8, 6] }} }}
      }}
    }}
  }}
  model_params {{
    {TOWERS}
    l2_regularization: 1e-06
  }}
"""
    + BUILT_IN[END:]
)
ODPS = (
    BUILT_IN.replace('"train.csv"', '"odps://project/tables/train"')
    .replace('"eval.csv"', '""')
    .replace('"experiments/mmoe"', '"oss://bucket/mmoe"')
    .replace("input_type: CSVInput", "input_type: OdpsInputV2 pai_worker_queue: true")
    .replace('label_fields: "clk"\n  label_fields: "buy"', 'label_fields: ["clk", "buy"]')
)
FORMS = {"built_in": BUILT_IN, "deprecated": DEPRECATED, "hive": HIVE, "odps": ODPS}
FORMS |= {"components": COMPONENTS}


def rows(columns: list[str], count: int, seed: int) -> str:
    """Lines of a CSV file; some cells are empty."""
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        clk = int(random.random() < 0.4)
        cells = {"clk": clk, "buy": int(clk and random.random() < 0.5)}
        for name in columns[2:]:
            value: object = int(random.integers(0, 30))
            if name == "tags":
                value = "|".join(map(str, random.integers(0, 30, random.integers(0, 4))))
            elif random.random() < 0.1:
                value = ""
            cells[name] = value
        lines.append(",".join(str(cells[name]) for name in columns))
    return "\n".join(lines) + "\n"


def write_rows(folder: Path, config: Config) -> dict[str, str]:
    """Files that the converted config reads, and the settings that name them."""
    columns = [field.input_name for field in config.pipeline.data_config.input_fields]
    for seed, (name, count) in enumerate((("train", 200), ("eval", 60))):
        (folder / f"{name}.csv").write_text(rows(columns, count, seed))
    return {
        "train_input_path": str(folder / "train.csv"),
        "eval_input_path": str(folder / "eval.csv"),
        "model_dir": str(folder / "model"),
        "train_config.use_tensorboard": "false",
    }


class Converted:
    """A config as it is loaded from what was written, and the report."""

    def __init__(self, text: str, config: Config, report: Report) -> None:
        self.text, self.config, self.pipeline = text, config, config.pipeline
        self.plain, self.said = " ".join(report.text().split()), report
        self.train, self.data = self.pipeline.train_config, self.pipeline.data_config
        self.features = {}
        for each in self.pipeline.feature_configs:
            word = each.WhichOneof("feature")
            self.features[getattr(each, word).feature_name] = getattr(each, word)


def convert(folder: Path, text: str, name: str = "theirs.config") -> Converted:
    """What becomes of a pipeline, which is written to the folder."""
    path = folder / name
    path.write_text(text)
    draft = conversion.converted(path)
    out = folder / "ours.config"
    out.write_text(draft.text(conversion.heading(path, "train")))
    config = load(out)
    assert not config.faults, config.faults
    return Converted(out.read_text(), config, draft.report)


def refused(folder: Path, text: str) -> list[str]:
    """What is said instead, without the folder."""
    with pytest.raises(ConfigError) as raised:
        convert(folder, text)
    return str(raised.value).replace(f"{folder}/", "").splitlines()


def line_of(text: str, part: str) -> int:
    """The line in which a part of a text begins."""
    return text[: text.index(part)].count("\n") + 1
