"""A tiny data set of two tasks, its config, and runs on it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from safetensors.torch import load_file

from tzmmoe.batch import Batch, Position
from tzmmoe.learning.step import TrainStep
from tzmmoe.pipeline import Pipeline
from tzmmoe.run.results import TRAINING_RESULTS
from tzmmoe.run.session import Session
from tzmmoe.system import checkpoint

FILES = (70, 45, 85)  # rows of each training file: 200, in batches of 16 and a last one of 8
EVAL_ROWS = 60

CONFIG = """
train_input_path: "{train}"
eval_input_path: "{eval}"
model_dir: "model"
train_config {{
  sparse_optimizer {{ adam_optimizer {{ lr: 0.01 }} constant_learning_rate {{}} }}
  dense_optimizer {{
    adam_optimizer {{ lr: 0.01 }} exponential_decay_learning_rate {{ decay_size: 5 }}
  }}
  num_epochs: 2
  save_checkpoints_steps: 5
  gradient_accumulation_steps: 2
  use_tensorboard: false
}}
data_config {{
  batch_size: 16
  label_fields: ["click", "buy"]
  sample_weight_fields: ["importance"]
  fg_mode: FG_DAG
  shuffle: true
  shuffle_buffer_size: 3
  num_workers: 2
  with_header: true
}}
feature_configs {{ id_feature {{ feature_name: "user" num_buckets: 20 embedding_dim: 4 }} }}
feature_configs {{
  id_feature {{
    feature_name: "tags" hash_bucket_size: 30 embedding_dim: 4 separator: "|" pooling: "mean"
  }}
}}
feature_configs {{
  id_feature {{
    feature_name: "scores" hash_bucket_size: 30 embedding_dim: 4 separator: "|" weighted: true
  }}
}}
feature_configs {{
  id_feature {{ feature_name: "city" hash_bucket_size: 9 embedding_dim: 3 trainable: false }}
}}
feature_configs {{ raw_feature {{ feature_name: "price" }} }}
feature_configs {{
  raw_feature {{ feature_name: "age" boundaries: [20, 40, 60] embedding_dim: 3 }}
}}
model_config {{
  feature_groups {{
    group_name: "all"
    feature_names: ["user", "tags", "scores", "city", "price", "age"]
  }}
  mmoe {{
    expert_mlp {{ hidden_units: [8] dropout_ratio: [0.2] }}
    num_expert: 3
    task_towers {{
      tower_name: "ctr" label_name: "click" mlp {{ hidden_units: [4] }}
      metrics {{ auc {{}} }}
      losses {{ binary_cross_entropy {{}} }}
    }}
    task_towers {{
      tower_name: "cvr" label_name: "buy" sample_weight_name: "importance"
      mlp {{ hidden_units: [4] use_bn: true }}
      metrics {{ auc {{}} }}
      losses {{ binary_cross_entropy {{}} }}
    }}
  }}
}}
"""


def rows(first: int, count: int) -> pa.Table:
    """Rows by their numbers: a row is the same in whatever file it is."""
    generators = [np.random.default_rng([7, row]) for row in range(first, first + count)]
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for number, random in enumerate(generators, first):
        user, age, price = int(random.integers(20)), int(random.integers(10, 80)), random.normal()
        words = [f"t{tag}" for tag in random.integers(12, size=random.integers(4))]
        click = random.random() < 1 / (1 + np.exp(-price - 0.1 * (user - 10)))
        columns["row"].append(number)
        columns["user"].append(user)
        columns["tags"].append("|".join(words))
        columns["scores"].append("|".join(f"{word}:{random.random():.3f}" for word in words))
        columns["city"].append(f"city{random.integers(6)}" if random.random() < 0.9 else None)
        columns["price"].append(round(price, 4))
        columns["age"].append(age)
        columns["importance"].append(float(random.integers(1, 4)))
        columns["click"].append(int(click))
        columns["buy"].append(int(click and random.random() < 0.5) if age < 75 else None)
    return pa.table({name: pa.array(columns[name], kind) for name, kind in COLUMNS.items()})


COLUMNS = {
    "row": pa.int64(),
    "user": pa.int64(),
    "tags": pa.string(),
    "scores": pa.string(),
    "city": pa.string(),
    "price": pa.float64(),
    "age": pa.int64(),
    "importance": pa.float64(),
    "click": pa.int64(),
    "buy": pa.int64(),
}


def write(table: pa.Table, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if ".csv" in file.name:
        with pa.output_stream(str(file), compression="detect") as stream:
            csv.write_csv(table, stream)
    else:
        pq.write_table(table, file, row_group_size=32)
    return file


def write_all(folder: Path, *, suffix: str = ".parquet", files: Sequence[int] = FILES) -> Path:
    """The folder with ``train/0.parquet`` ..., ``eval.parquet`` and ``tiny.config``."""
    first = 0
    for number, count in enumerate(files):
        write(rows(first, count), folder / "train" / f"{number}{suffix}")
        first += count
    evaluation = write(rows(100_000, EVAL_ROWS), folder / f"eval{suffix}")
    config = CONFIG.format(train=folder / "train", eval=evaluation)
    (folder / "tiny.config").write_text(config)
    return folder


def pipeline(folder: Path, model_dir: Path | str, **changes: object) -> Pipeline:
    """The config of a folder, with fields changed by their paths, dots written as ``__``."""
    settings = [f"{path.replace('__', '.')}={value}" for path, value in changes.items()]
    settings.append(f"model_dir={model_dir}")
    return Pipeline.load(folder / "tiny.config", settings=settings, device="cpu")


def session(folder: Path, model_dir: Path | str = "unused", **changes: object) -> Session:
    """Everything built, nothing trained."""
    config = pipeline(folder, model_dir, **changes).config
    return Session.start(config, device="cpu", trains=True)


def batches(session: Session, count: int) -> list[Batch]:
    """The first training batches."""
    columns = session.built.tasks.columns()
    loader = session.loader(
        session.settings.files.train_input_path, "--train_input_path", columns, training=True
    )
    return [batch for batch, _ in itertools.islice(loader.epoch(Position()), count)]


def train_step(session: Session) -> TrainStep:
    built, runtime = session.built, session.runtime
    learning = session.settings.learning
    return TrainStep.of(built.model, built.tasks, learning, runtime.device, runtime.world)


def learn(session: Session, step: TrainStep, batches: Sequence[Batch], first: int = 0) -> None:
    """Take the batches as steps ``first``, ``first`` + 1, ... of epoch 0."""
    schedules = session.settings.learning.schedules()
    for number, batch in enumerate(batches, first):
        step(batch, schedules.at(number, epoch=0))


def after_each_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call something with the number of each step from now on, counted from 0, once it is taken."""
    original, numbers = TrainStep.__call__, itertools.count()

    def call(self: TrainStep, batch: Batch, *others: object) -> tuple:
        outcome = original(self, batch, *others)
        act(next(numbers))
        return outcome

    monkeypatch.setattr(TrainStep, "__call__", call)


def end(model_dir: Path) -> dict[str, bytes]:
    """What a run has come to: its last checkpoint, tensor by tensor, and its results.

    The config is left out, since it tells when the run was to stop.
    """
    newest = checkpoint.newest(model_dir)
    found = {"name": newest.name.encode()}
    for file in ("state.json", f"../{TRAINING_RESULTS}"):
        found[file] = (newest / file).read_bytes()
    return found | tensors(newest)


def tensors(path: Path) -> dict[str, bytes]:
    """Of a checkpoint, by name, with type and shape. (The files list their facts in any order.)"""
    found = {}
    for file in (path / "tensors").glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            kind = f"{tensor.dtype} {list(tensor.shape)} ".encode()
            found[name] = kind + tensor.numpy().tobytes()
    return found


def files_of(folder: Path) -> Mapping[str, bytes]:
    """Every file below a folder, by its path in it."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
