"""A small correct config as text, changes to it, and what is said of the result."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tzmmoe import config as configs
from tzmmoe.build import Built, build, rules
from tzmmoe.config import Config
from tzmmoe.errors import ConfigError, Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.run.session import check
from tzmmoe.run.settings import RunSettings
from tzmmoe.system.runtime import free_bytes

CONFIG = """\
train_input_path: "train.parquet"
eval_input_path: "eval.parquet"
model_dir: "model"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.01 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.01 } constant_learning_rate {} }
  num_epochs: 1
}
data_config {
  batch_size: 8
  label_fields: ["click", "buy"]
  sample_weight_fields: ["importance"]
  fg_mode: FG_DAG
}
feature_configs { id_feature { feature_name: "user" hash_bucket_size: 10 embedding_dim: 4 } }
feature_configs { id_feature { feature_name: "item" num_buckets: 20 embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "price" boundaries: [1, 2] embedding_dim: 4 } }
model_config {
  feature_groups { group_name: "all" feature_names: ["user", "item", "price"] }
  mmoe {
    expert_mlp { hidden_units: [4] }
    num_expert: 2
    task_towers {
      tower_name: "ctr"
      label_name: "click"
      sample_weight_name: "importance"
      metrics { auc {} }
      losses { binary_cross_entropy {} }
    }
    task_towers {
      tower_name: "cvr"
      label_name: "buy"
      task_space_indicator_label: "click"
      out_task_space_weight: 0
    }
  }
}
"""
ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "configs").glob("*.config"))
FIXTURES = Path(__file__).parent / "config/fixtures"


def changed(*changes: tuple[str, str], text: str = CONFIG) -> str:
    """The text with the first occurrence of each old part replaced."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def read(text: str) -> Pipeline:
    """As protobuf reads it."""
    return text_format.Parse(text, Pipeline())


def load(path: Path, **arguments) -> Config:
    """As ``Pipeline.load`` does."""
    return configs.load(path, rules=rules(), **arguments)


def notes(config: Config) -> list[str]:
    """The lines about settings without effect."""
    return list(rules().notes(config.pipeline))


def loaded(folder: Path, text: str, name: str = "my.config", **arguments) -> Config:
    path = folder / name
    path.write_bytes(text.encode())
    return load(path, **arguments)


def said(config: Config) -> list[str]:
    """The lines that a user gets; none when all is well."""
    return lines(config.faults, config)


def lines(faults: Faults, config: Config) -> list[str]:
    """Of the message, as of a config in the folder that the command is started in."""
    try:
        faults.stop(config.locate)
    except ConfigError as error:
        return str(error).replace(f"{config.folder}/", "").splitlines()
    return []


def said_of_all(config: Config) -> list[str]:
    """As ``said``, with the faults that show when everything is made, as for training."""
    return built(config)[1]


def built(config: Config) -> tuple[Built | None, list[str]]:
    faults = Faults(config.faults)
    settings = RunSettings.of(config.pipeline, faults, trains=True)
    free = free_bytes(torch.device("cpu"))
    made = build(config.pipeline, config.folder, faults, free=free, modules=config.modules)
    check(settings, made, faults)
    return made, lines(faults, config)


def message_types(root: Descriptor = Pipeline.DESCRIPTOR) -> dict[str, Descriptor]:
    """Every message type of the schema by name."""
    found: dict[str, Descriptor] = {}

    def visit(descriptor: Descriptor) -> None:
        if descriptor.full_name not in found and not descriptor.GetOptions().map_entry:
            found[descriptor.full_name] = descriptor
            for field in descriptor.fields:
                if field.message_type is not None:
                    visit(field.message_type)

    visit(root)
    return found


def all_fields() -> Iterator[FieldDescriptor]:
    for descriptor in message_types().values():
        yield from descriptor.fields


def raises(*words: str):
    """A ConfigError whose message holds all of the words."""
    return pytest.raises(ConfigError, match=".*".join(words))
