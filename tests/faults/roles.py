"""A config whose columns play every role that a column can have, and running rows through it."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from written import load

from tzmmoe.batch import Batch
from tzmmoe.run.session import Session

CONFIG = """
data_config {
  batch_size: 5 num_workers: 0 fg_mode: FG_DAG WITH_HEADER
  label_fields: ["binary", "class", "number", "positive", "space"]
  sample_weight_fields: ["weight"]
}
feature_configs { id_feature { feature_name: "bucket" num_buckets: 20 embedding_dim: 4 } }
feature_configs {
  id_feature { feature_name: "hashed" hash_bucket_size: 9 embedding_dim: 4 separator: "|" }
}
feature_configs {
  id_feature {
    feature_name: "weighted" hash_bucket_size: 9 embedding_dim: 4 separator: "|" weighted: true
  }
}
feature_configs {
  id_feature {
    feature_name: "word" vocab_list: ["t1", "t2"] embedding_dim: 4 separator: "|" value_dim: 2
  }
}
feature_configs { raw_feature { feature_name: "plain" } }
feature_configs { raw_feature { feature_name: "three" value_dim: 3 separator: "|" } }
feature_configs { raw_feature { feature_name: "cut" boundaries: [0, 1] embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "log" normalizer: "method=log10" } }
model_config {
  feature_groups {
    group_name: "all"
    feature_names: ["bucket", "hashed", "weighted", "word", "plain", "three", "cut", "log"]
  }
  mmoe {
    num_expert: 2 expert_mlp { hidden_units: [4] }
    task_towers {
      tower_name: "a" label_name: "binary" sample_weight_name: "weight"
      task_space_indicator_label: "space" out_task_space_weight: 0
      losses { binary_cross_entropy {} }
      metrics { auc {} } metrics { grouped_auc { grouping_key: "group" } }
    }
    task_towers {
      tower_name: "b" label_name: "class" num_class: 3
      losses { softmax_cross_entropy {} } metrics { accuracy {} }
    }
    task_towers {
      tower_name: "c" label_name: "number" losses { l2_loss {} }
      metrics { mean_squared_error {} }
    }
    task_towers { tower_name: "d" label_name: "positive" losses { msle_loss {} } }
  }
}
"""
# What each role gets in the rows that are in order.
GOOD: dict[str, list[str]] = {
    "bucket": ["0", "19", "3"],
    "hashed": ["a", "b|c", "7"],
    "weighted": ["a:1", "b:2|c:0.5", "a:3"],
    "word": ["t1", "t2|t1", "t3"],
    "plain": ["0.5", "-1", "7"],
    "three": ["1|2|3", "0|0|0", "-1|0.5|2"],
    "cut": ["0.5", "-1", "7"],
    "log": ["1", "2.5", "10"],
    "binary": ["0", "1", "1"],
    "class": ["0", "1", "2"],
    "number": ["0.5", "-3", "100"],
    "positive": ["0", "1.5", "7"],
    "weight": ["1", "0", "2.5"],
    "space": ["1", "0", "1"],
    "group": ["u1", "u2", "u1"],
}
ROLES = list(GOOD)


def session(folder: Path, kind: str) -> Session:
    """For files of a kind, "csv" or "parquet"."""
    file = folder / f"{kind}.config"
    header = "with_header: true" if kind == "csv" else ""
    file.write_text(CONFIG.replace("WITH_HEADER", header))
    return Session.start(load(file), device="cpu")


def good_texts(num_rows: int) -> dict[str, list[str]]:
    return {role: [cells[r % 3] for r in range(num_rows)] for role, cells in GOOD.items()}


def write(columns: Mapping[str, list | pa.Array], file: Path) -> Path:
    if file.suffix == ".parquet":
        arrays = {n: c if isinstance(c, pa.Array) else pa.array(c) for n, c in columns.items()}
        pq.write_table(pa.table(arrays), file)
        return file
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return file


def learn(session: Session, file: Path) -> int:
    """Rows that came as far as losses and metrics, each batch within what the model can take."""
    tasks, model = session.built.tasks, session.built.model
    loader = session.loader(str(file), "--train_input_path", tasks.columns())
    tasks.reset()
    rows = 0
    for batch in loader.once():
        assert_fits(session, batch)
        logits = model(batch.inputs)
        sum(tasks.losses(logits, batch).values()).backward()
        with torch.no_grad():
            tasks.update(tasks.predict(logits), batch)
        rows += len(batch)
    tasks.compute()
    return rows


def assert_fits(session: Session, batch: Batch) -> None:
    """Ids lie in their tables, and numbers are finite, or NaN in labels that are missing."""
    layout = session.built.model.encoder.layout
    for width, slots in layout.pooled.items():
        ragged = batch.inputs.ids[width]
        rows = np.array([slot.feature.table.rows for slot in slots])
        tables = np.tile(rows, len(batch))
        if ragged.lengths is not None:
            tables = np.repeat(tables, ragged.lengths.numpy().ravel())
        ids = ragged.values.numpy().ravel()
        assert len(ids) == len(tables)
        assert ((ids >= 0) & (ids < tables)).all()
        assert ragged.weights is None or ragged.weights.isfinite().all()
    assert batch.inputs.numbers.isfinite().all()
    for column in session.built.tasks.columns():
        found = batch.columns[column.name]
        if column.role != "group":
            assert (found.isfinite() | (found.isnan() & (column.role == "label"))).all()
