"""The settings of a run: one object, made from the config; no other file of ``run/`` reads it.

Each class has the fields of a message that a run needs, under the names of the schema.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format

from tzmmoe.build.files import delivery, reading, split
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.reading.files import Reading
from tzmmoe.data.reading.split import Split
from tzmmoe.errors import Faults
from tzmmoe.learning import step
from tzmmoe.learning.settings import LearningSettings
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import fields
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.placement import PlacementRequest

T = TypeVar("T")


@dataclass(frozen=True)
class FileSettings:
    """From the top level of the config."""

    train_input_path: str | None
    eval_input_path: str | None
    test_input_path: str | None
    model_dir: str | None

    @property
    def folder(self) -> Path:
        return Path(self.model_dir or "")

    def check(self, needs: Sequence[str], faults: Faults) -> None:
        """Add a fault for each field that is not set; test_input_path can replace
        eval_input_path."""
        for name in needs:
            substitute = name == "eval_input_path" and self.test_input_path
            if not (getattr(self, name) or substitute):
                faults.add(name, f"is not set; set it, or pass --{name}")


@dataclass(frozen=True)
class TrainingSettings:
    """From train_config: how long, what is saved, and what is reported."""

    num_steps: int | None
    num_epochs: int | None
    save_checkpoints_steps: int
    save_checkpoints_epochs: int | None
    keep_checkpoint_max: int
    fine_tune_checkpoint: str | None
    fine_tune_ckpt_param_map: str | None
    partial_restore: bool
    early_stopping: dict[str, Any] | None
    num_samples: int | None
    num_val_samples: int | None
    sync_batch_norm: bool
    cuda_matmul_allow_tf32: bool | None
    cudnn_allow_tf32: bool | None
    log_step_count_steps: int
    train_speed_logger: dict[str, Any] | None
    use_tensorboard: bool
    tensorboard: dict[str, Any] | None

    @cached_property
    def epochs(self) -> int | None:
        """The maximum number of epochs; None: as many as num_steps takes."""
        return self.num_epochs or (None if self.num_steps else 1)

    def saves_after_step(self, step: int) -> bool:
        """Whether a checkpoint is due after a step, counted from 0; never after the very first."""
        every = not self.save_checkpoints_epochs and self.save_checkpoints_steps
        return bool(every) and step > 0 and step % every == 0

    def saves_after_epoch(self, epoch: int) -> bool:
        """Whether a checkpoint is due after an epoch, counted from 0."""
        every = self.save_checkpoints_epochs
        return bool(every) and (epoch + 1) % every == 0


@dataclass(frozen=True)
class EvaluationSettings:
    """From eval_config."""

    num_steps: int | None
    log_step_count_steps: int
    batch_size: int | None
    output_file: str | None
    predictions_path: str | None
    reserved_columns: tuple[str, ...]


@dataclass(frozen=True)
class ExportSettings:
    """From export_config."""

    exporter_type: str
    best_exporter_metric: str | None
    metric_larger_is_better: bool | None
    per_task_best: bool
    auxiliary: bool


@dataclass(frozen=True)
class RuntimeSettings:
    """From runtime_config."""

    seed: int
    device: str
    timeout: str | None
    grace_period: str | None
    collective_timeout: str
    deterministic: bool


@dataclass(frozen=True)
class RunSettings:
    """``learning``: None if nothing is trained. ``model_name``: the name its results carry."""

    files: FileSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    export: ExportSettings
    runtime: RuntimeSettings
    learning: LearningSettings | None
    placement: PlacementRequest
    reading: Reading
    split: Split | None  # of train_input_path, whose held out rows eval_input_path then names
    train_delivery: Delivery
    eval_delivery: Delivery
    mask_prob: float
    model_name: str | None
    text: str  # the config with all edits

    @property
    def split_json(self) -> dict[str, Any] | None:
        """For a checkpoint, whose positions count the rows that are trained on."""
        return None if self.split is None else dataclasses.asdict(self.split)

    @classmethod
    def of(cls, pipeline: Pipeline, faults: Faults, *, trains: bool) -> "RunSettings":
        """Faults are added to ``faults``, those of the learning only if the run trains."""
        train, data = fields(pipeline.train_config), fields(pipeline.data_config)
        training = _settings(TrainingSettings, train)
        runtime = _settings(RuntimeSettings, fields(pipeline.runtime_config))
        train_delivery, eval_delivery = (
            delivery(pipeline.data_config, training=flag, seed=runtime.seed)
            for flag in (True, False)
        )
        learning, constraints = None, Constraints()
        with faults.under(""):
            path = "train_config.global_embedding_constraints"
            if restrictions := train["global_embedding_constraints"]:
                constraints = Constraints.of(restrictions, path)
        placement = PlacementRequest(train["table_placement"], constraints, data["batch_size"])
        with faults.under(""):
            if trains:
                learning = LearningSettings.of(train)
                step.check(learning, faults)
                placement = replace(
                    placement,
                    optimizer=learning.sparse.optimizer,
                    grad_process=learning.grad_process,
                    precision=learning.precision,
                    averages=learning.ema is not None,
                )
                placement.check()
        word = pipeline.model_config.WhichOneof("model")
        model = getattr(pipeline.model_config, word) if word else None
        files, held_out = _settings(FileSettings, fields(pipeline)), split(pipeline)
        if held_out:
            files = replace(files, eval_input_path=files.train_input_path)
        return cls(
            files=files,
            training=training,
            evaluation=_settings(EvaluationSettings, fields(pipeline.eval_config)),
            export=_settings(ExportSettings, fields(pipeline.export_config)),
            runtime=runtime,
            learning=learning,
            placement=placement,
            reading=reading(pipeline.data_config),
            split=held_out,
            train_delivery=replace(train_delivery, epoch_rows=training.num_samples or None),
            eval_delivery=eval_delivery,
            mask_prob=data["sample_mask_prob"],
            model_name=getattr(model, "name", word),
            text=text_format.MessageToString(pipeline, as_utf8=True),
        )


def _settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """An object of a class of settings, from the fields of its message."""
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})
