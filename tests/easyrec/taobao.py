"""Taobao's columns as EasyRec's samples read them, made-up rows of them, and whole configs."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from data.assembled import chunk
from google.protobuf import text_format
from pyarrow import csv
from torch import Tensor
from written import built, loaded

from tzmmoe.batch import Inputs
from tzmmoe.build import Built
from tzmmoe.data.encode import Assembler
from tzmmoe.protos.model_pb2 import ModelConfig

ORACLE = Path(
    os.environ.get("EASYREC_ORACLE_DIR")
    or Path(__file__).parents[3] / "shared/reference/easyrec-oracle"
)
needs_oracle = pytest.mark.skipif(
    not ORACLE.is_dir(), reason="set EASYREC_ORACLE_DIR to the folder of EasyRec's numbers"
)
# Each table's rows, in the order of the columns in a file.
TEXT = """
  pid:10 adgroup_id:100000 cate_id:10000 campaign_id:100000 customer:100000 brand:100000
  user_id:100000 cms_segid:100 cms_group_id:100 final_gender_code:10 age_level:10 pvalue_level:10
  shopping_level:10 occupation:10 new_user_class_level:10 tag_category_list:100000
  tag_brand_list:100000 price:50
"""
ROWS = {name: int(rows) for name, rows in (pair.split(":") for pair in TEXT.split())}
LABELS = ("clk", "buy")
LISTS = ("tag_category_list", "tag_brand_list")
GROUP = """
  user_id cms_segid cms_group_id age_level pvalue_level shopping_level occupation
  new_user_class_level adgroup_id cate_id campaign_id customer brand price pid
  tag_category_list tag_brand_list
""".split()

FRAME = """
train_input_path: "train.csv"
eval_input_path: "eval.csv"
model_dir: "model"
train_config {{
  optimizer {{
    adam_optimizer {{ lr: 0.001 }}
    exponential_decay_learning_rate {{
      decay_size: 1000 decay_factor: 0.5 staircase: true min_learning_rate: 1e-07
    }}
  }}
  num_steps: {steps}
  use_tensorboard: false
}}
data_config {{
  batch_size: {batch_size}
  label_fields: ["clk", "buy"]
  dataset_type: CsvDataset
  with_header: true
  fg_mode: FG_DAG
  hash_function: FARM_HASH
}}
{features}
{model}
"""


def feature(name: str, dim: int, rows: int) -> str:
    rule = "num_buckets" if name == "price" else "hash_bucket_size"
    separator = ' separator: "|"' if name in LISTS else ""
    settings = f"embedding_dim: {dim} {rule}: {rows}{separator}"
    return f'feature_configs {{ id_feature {{ feature_name: "{name}" {settings} }} }}'


def config(
    model: str, dim: int = 16, rows: int | None = None, steps: int = 4, batch_size: int = 64
) -> str:
    """A pipeline with this ``model_config``. ``rows``: of each table but price's; None: as in the
    sample."""
    sizes = {name: rows if rows and name != "price" else size for name, size in ROWS.items()}
    features = "\n".join(feature(name, dim, size) for name, size in sizes.items())
    return FRAME.format(model=model, features=features, steps=steps, batch_size=batch_size)


def model_text(path: Path) -> str:
    """The ``model_config`` of one of EasyRec's pipelines, as it stands."""
    text = path.read_text()
    return text[text.index("model_config {") :]


def columns(num_rows: int, seed: int) -> dict[str, list]:
    """Clicks that depend on price and brand, and buys among them; some lists are empty."""
    random = np.random.default_rng(seed)
    found: dict[str, list] = {}
    for name, rows in ROWS.items():
        ids = random.integers(0, min(rows, 40), num_rows)
        found[name] = ids.tolist()
        if name in LISTS:
            lengths = random.integers(0, 4, num_rows)
            found[name] = ["|".join(map(str, random.integers(0, 40, n))) for n in lengths]
    lean = np.array(found["price"]) / 20 - 1 + (np.array(found["brand"]) % 3 - 1)
    clicks = (random.random(num_rows) < 1 / (1 + np.exp(-lean))).astype(int)
    buys = clicks * (random.random(num_rows) < 0.5)
    return {"clk": clicks.tolist(), "buy": buys.tolist(), **found}


def write(folder: Path, model: str, **settings: int) -> Path:
    """The folder with data and ``taobao.config``."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, num_rows) in enumerate((("train", 256), ("eval", 100))):
        csv.write_csv(pa.table(columns(num_rows, seed)), folder / f"{name}.csv")
    text = config(model, **settings)
    for name in ("train.csv", "eval.csv", "model"):
        text = text.replace(f'"{name}"', f'"{folder / name}"')
    (folder / "taobao.config").write_text(text)
    return folder / "taobao.config"


def model(folder: Path, text: str, **settings: int) -> Built:
    """The model of a ``model_config``, which must be without fault."""
    made, lines = built(loaded(folder, config(text, **settings)))
    assert not lines
    return made


def canonical(folder: Path, text: str) -> ModelConfig:
    """What a ``model_config`` is rewritten to."""
    found = loaded(folder, config(text))
    assert not found.faults
    return found.pipeline.model_config


def parsed(text: str) -> ModelConfig:
    """A ``model_config`` in our own words."""
    return text_format.Parse(text.partition("{")[2].rpartition("}")[0], ModelConfig())


def oracle_inputs(made: Built) -> Inputs:
    """The oracle's rows."""
    names = [*LABELS, *ROWS]
    options = {"column_types": {name: pa.string() for name in names}}
    table = csv.read_csv(
        ORACLE / "rows.csv",
        read_options=csv.ReadOptions(column_names=names),
        convert_options=csv.ConvertOptions(**options, strings_can_be_null=True),
    ).combine_chunks()
    return inputs(made, {name: table[name].chunk(0) for name in ROWS})


def inputs(made: Built, named: Mapping[str, list | pa.Array]) -> Inputs:
    """The inputs of rows in columns."""
    rows = chunk(named)
    (batch,) = Assembler(made.features, (), helpers=made.helpers).assemble(rows).batches(1000)
    return batch.inputs


def oracle(name: str) -> Mapping[str, np.ndarray]:
    return np.load(ORACLE / f"{name}.npz")


def dense_parameters(made: Built) -> int:
    """The trained numbers outside the tables."""
    tables = {id(p) for p in made.model.encoder.tables.parameters()}
    own: list[Tensor] = [p for p in made.model.parameters() if id(p) not in tables]
    return sum(parameter.numel() for parameter in own if parameter.requires_grad)
