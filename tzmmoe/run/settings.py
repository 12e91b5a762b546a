"""The one object that tells a run its settings; no other file of a run reads the config.

The classes name the fields of a message that a run needs, as the schema names them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format

from tzmmoe.build.files import delivery, reading
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.reading.files import Reading
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
    """Of the config itself."""

    train_input_path: str | None
    eval_input_path: str | None
    test_input_path: str | None
    model_dir: str | None

    @property
    def folder(self) -> Path:
        return Path(self.model_dir or "")

    def lacks(self, name: str) -> bool:
        """Whether a field is not set; for eval_input_path, test_input_path may stand in."""
        stands_in = name == "eval_input_path" and self.test_input_path
        return not (getattr(self, name) or stands_in)


@dataclass(frozen=True)
class TrainingSettings:
    """Of train_config: how long, what is saved, and what is told."""

    num_steps: int | None
    num_epochs: int | None
    save_checkpoints_steps: int
    save_checkpoints_epochs: int | None
    keep_checkpoint_max: int
    fine_tune_checkpoint: str | None
    fine_tune_ckpt_param_map: str | None
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
        """How many there are at most; None: as many as num_steps takes."""
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
    """Of eval_config."""

    num_steps: int | None
    log_step_count_steps: int
    batch_size: int | None
    output_file: str | None
    predictions_path: str | None
    reserved_columns: tuple[str, ...]


@dataclass(frozen=True)
class ExportSettings:
    """Of export_config."""

    exporter_type: str
    best_exporter_metric: str | None
    metric_larger_is_better: bool | None


@dataclass(frozen=True)
class RuntimeSettings:
    """Of runtime_config."""

    seed: int
    device: str
    timeout: str | None
    collective_timeout: str
    deterministic: bool


@dataclass(frozen=True)
class RunSettings:
    """``learning``: None where nothing is trained. ``model_name``: what its results go under."""

    files: FileSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    export: ExportSettings
    runtime: RuntimeSettings
    learning: LearningSettings | None
    placement: PlacementRequest
    reading: Reading
    train_delivery: Delivery
    eval_delivery: Delivery
    mask_prob: float
    model_name: str | None
    text: str  # the config as it is used, with all changes

    @classmethod
    def of(cls, pipeline: Pipeline, faults: Faults, *, trains: bool) -> "RunSettings":
        """What does not fit is added to ``faults``, of the learning only if the run trains."""
        train, data = fields(pipeline.train_config), fields(pipeline.data_config)
        training = _named(TrainingSettings, train)
        runtime = _named(RuntimeSettings, fields(pipeline.runtime_config))
        trained, evaluated = (
            delivery(pipeline.data_config, training=each, seed=runtime.seed, pin_memory=True)
            for each in (True, False)
        )
        learning = None
        placement = PlacementRequest(train["table_placement"], Constraints(), data["batch_size"])
        with faults.under(""):
            path = "train_config.global_embedding_constraints"
            wanted = train["global_embedding_constraints"]
            constraints = Constraints.of(wanted, path) if wanted else Constraints()
            placement = replace(placement, constraints=constraints)
        with faults.under(""):
            if trains:
                learning = LearningSettings.of(train)
                step.check(learning, faults)
                placement = replace(
                    placement,
                    optimizer=learning.sparse.optimizer,
                    grad_process=learning.grad_process,
                    precision=learning.precision,
                )
                placement.check()
        return cls(
            files=_named(FileSettings, fields(pipeline)),
            training=training,
            evaluation=_named(EvaluationSettings, fields(pipeline.eval_config)),
            export=_named(ExportSettings, fields(pipeline.export_config)),
            runtime=runtime,
            learning=learning,
            placement=placement,
            reading=reading(pipeline.data_config),
            train_delivery=replace(trained, epoch_rows=training.num_samples or None),
            eval_delivery=evaluated,
            mask_prob=data["sample_mask_prob"],
            model_name=_model_name(pipeline),
            text=text_format.MessageToString(pipeline, as_utf8=True),
        )


def _named(kind: type[T], values: Mapping[str, Any]) -> T:
    """The fields of a message that a class of settings names."""
    return kind(**{each.name: values[each.name] for each in dataclasses.fields(kind)})


def _model_name(pipeline: Pipeline) -> str | None:
    """The name that the config gives the model, or else its word."""
    word = pipeline.model_config.WhichOneof("model")
    message = getattr(pipeline.model_config, word) if word else None
    return getattr(message, "name", word)
