"""A config made ready to run: its objects, its device, its files."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from google.protobuf import text_format
from torch import Tensor

from tzmmoe import build
from tzmmoe.batch import Batch, Column
from tzmmoe.config import Config, duration, notes
from tzmmoe.config.dialects.keras import spelled
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan.sharing import count
from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.files import expand, open_source
from tzmmoe.errors import CheckpointError, ConfigError, DataError, Faults
from tzmmoe.learning.lockstep import Together
from tzmmoe.learning.settings import Settings
from tzmmoe.models import RankModel
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.protos.train_pb2 import REPLICATED, SHARDED, TrainConfig
from tzmmoe.registry import fields
from tzmmoe.run import results as report
from tzmmoe.run import state
from tzmmoe.run.ends import Best, Watch, checked_key
from tzmmoe.run.fingerprint import check_meaning, meaning
from tzmmoe.system import checkpoint, environment
from tzmmoe.system.runtime import Runtime, allow_tf32, find_device, free_bytes, meet
from tzmmoe.system.world import World
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.placement import Machine, PlacementRequest, place
from tzmmoe.tables.sharded import ShardedTables
from tzmmoe.tasks.task_set import TaskSet

log = logging.getLogger(__name__)

Check = Callable[[Pipeline, build.Built | None, Faults], None]


@dataclass(frozen=True)
class Session:
    """The model of a config on its device, and the ways to feed it."""

    pipeline: Pipeline
    built: build.Built
    runtime: Runtime
    free_bytes: int | None  # of the device, before the model was made

    @classmethod
    def start(
        cls,
        config: Config,
        *,
        device: str | None = None,
        needs: Sequence[str] = (),
        check: Check | None = None,
        whole: bool = False,
    ) -> "Session":
        """Build everything.

        ``needs`` are fields of the config that must be set; ``check`` adds the faults of training,
        if that is what the caller is about to do. ``whole``: each process needs all tables.

        Raises:
            ConfigError: all faults at once.
        """
        pipeline = config.pipeline
        free = free_bytes(torch.device("cpu"))
        faults = Faults(config.faults)
        for name in needs:
            if not getattr(pipeline, name):
                faults.add(name, f"is not set; set it, or pass --{name}")
        train = pipeline.train_config
        may_spread = not whole and train.table_placement != REPLICATED
        spread = environment.number("WORLD_SIZE", 1) if may_spread else 1
        built = build.build(pipeline, config.folder, faults, spread)
        if check:
            check(pipeline, built, faults)
        settings, unfit = pipeline.runtime_config, Faults()
        with faults.under(""):
            named = "--device" if device else "runtime_config.device"
            found = find_device(device or settings.device, named)
            if spread > 1:
                build.check_constraints(pipeline, found.type, unfit, trains=check is not None)
        if train.table_placement == SHARDED:
            faults += unfit
        faults.stop(config.locate)
        for line in [*notes(pipeline), *build.feature_notes(pipeline)]:
            log.warning("%s", line)
        world = meet(found, duration.seconds(settings.collective_timeout))
        runtime = Runtime.start(found, settings.seed, world, deterministic=settings.deterministic)
        _set_arithmetic(train, built.model, world)
        if runtime.device.type != "cpu":
            free = free_bytes(runtime.device)
        if not whole:
            wanted = placement(pipeline, trains=check is not None)
            wanted = replace(wanted, unfit=tuple(unfit))
            place(built.model, wanted, _machine(runtime, free))
        built.model.to(runtime.device)
        return cls(pipeline, built, runtime, free)

    @property
    def is_spread(self) -> bool:
        """Whether the tables lie in several processes, so that all must score together."""
        return any(isinstance(part, ShardedTables) for part in self.built.model.modules())

    @cached_property
    def meaning(self) -> dict[str, Any]:
        """What the weights stand for; a checkpoint must agree."""
        built = self.built
        names = [task.name for task in built.tasks.tasks]
        return meaning(built.groups, built.features, names)

    @property
    def model_dir(self) -> Path:
        return Path(self.pipeline.model_dir)

    def text(self) -> str:
        """The config as it is used, with all changes."""
        return text_format.MessageToString(self.pipeline, as_utf8=True)

    def loader(
        self,
        path: str,
        flag: str,
        columns: Sequence[Column],
        *,
        training: bool = False,
        reserved: Sequence[str] = (),
        batch_size: int | None = None,
        most: int | None = None,
    ) -> Loader:
        """Batches of the files at ``path``, which the command line calls ``flag``.

        ``most``: so many batches are wanted, of one process; several share out their rows.

        Raises:
            DataError: files that are not there, or lack a column.
        """
        config, world = self.pipeline.data_config, self.runtime.world

        def opened() -> tuple[Source, Assembler]:
            source = open_source(path, flag, build.reading(config))
            assembler = Assembler(
                self.built.features,
                columns,
                helpers=self.built.helpers,
                reserved=source.expand(reserved),
                mask_prob=config.sample_mask_prob if training else 0.0,
            )
            for file in source.files:
                source.check_columns(file, assembler.needed)
            return source, assembler

        source, assembler = world.each(opened)
        delivery = build.delivery(
            config,
            training=training,
            seed=self.runtime.seed,
            pin_memory=self.runtime.device.type == "cuda",
        )
        if batch_size:
            delivery = replace(delivery, batch_size=batch_size)
        if training:
            delivery = replace(delivery, epoch_rows=self.pipeline.train_config.num_samples or None)
        cut = None if most is None else most * delivery.batch_size
        delivery = replace(delivery, rank=world.rank, world=world.size, cut=cut)
        return Loader(source, assembler, delivery, count(source, world))

    def append(self, name: str, step: int, results: Mapping[str, float]) -> None:
        """Add a line of results to a file of the model_dir."""
        if self.runtime.world.is_first:
            report.append(self.model_dir / name, step, results)

    def inputs(self) -> list[str]:
        """The files that the config names; no output may replace one."""
        pipeline = self.pipeline
        named = [pipeline.train_input_path, pipeline.eval_input_path, pipeline.test_input_path]
        found = []
        for path in filter(None, named):
            with suppress(DataError):  # not there, or not local
                found += expand(path, "")
        return found

    def fitting_checkpoint(self, path: Path) -> checkpoint.Checkpoint:
        """A checkpoint, or a model_dir's preferred one, whose weights mean what this model's do."""
        opened = checkpoint.open_checkpoint(checkpoint.resolved(path), self.runtime.world)
        check_meaning(opened, self.meaning)
        return opened

    def restore(self, path: Path) -> checkpoint.Checkpoint:
        """Load the weights of a checkpoint, or of a model_dir's preferred one."""
        world = self.runtime.world
        opened = world.each(lambda: self.fitting_checkpoint(path))
        world.each(lambda: state.restore_weights(opened, self.built.model))
        log.info("weights of %s", opened.path)
        return opened

    def best_checkpoint(self) -> Path:
        """Of those still there, the one with the best export_config.best_exporter_metric."""
        best = watch(self.pipeline, self.built.tasks).best
        there = checkpoint.by_step(self.model_dir)
        lines = {
            line["global_step"]: line for line in report.read(self.model_dir / report.TRAINING)
        }
        for step in sorted(there.keys() & lines.keys()):  # a step's last line counts
            if best and best.key in lines[step]:
                best.note(step, lines[step])
        if best and best.waited and best.step is None:
            raise CheckpointError(
                f"{self.model_dir}: {best.key} is undefined in every evaluation of a checkpoint "
                "there, so none is the best; set export_config.best_exporter_metric to another "
                'metric, or export_config.exporter_type: "latest"'
            )
        if best is None or best.step is None:
            raise CheckpointError(
                f"{self.model_dir}: no checkpoint there has an evaluation in {report.TRAINING}, so "
                'none is the best; set export_config.exporter_type: "latest"'
            )
        return there[best.step]

    def taken(self, loader: Loader) -> Iterator[Batch]:
        """All rows once. Where the tables lie in several processes, these take their batches
        together, and one that has no more takes empty ones."""
        if not self.is_spread:
            return loader.once()
        together = Together(self.runtime.world)
        return (batch for batch, _ in together.steps(loader.once(), loader.no_rows))

    @torch.no_grad()
    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Named outputs of a batch, with the weights at hand."""
        model = self.built.model.eval()
        return self.built.tasks.predict(model(batch.to(self.runtime.device).inputs))


def _set_arithmetic(train: TrainConfig, model: RankModel, world: World) -> None:
    """TF32, and batch norm over all processes, as train_config wants them."""
    for part in model.modules():
        if isinstance(part, BatchNorm):
            part.synced = train.sync_batch_norm and world.size > 1
    matmul, cudnn = (
        getattr(train, name) if train.HasField(name) else None
        for name in ("cuda_matmul_allow_tf32", "cudnn_allow_tf32")
    )
    allow_tf32(matmul, cudnn)


def placement(pipeline: Pipeline, *, trains: bool) -> PlacementRequest:
    """Where the config wants the tables to lie. Raises ConfigError."""
    config = fields(pipeline.train_config)
    path = "train_config.global_embedding_constraints"
    request = PlacementRequest(
        config["table_placement"],
        Constraints.of(config["global_embedding_constraints"], path),
        pipeline.data_config.batch_size,
    )
    if not trains:
        return request
    settings = Settings.of(config)
    return replace(
        request,
        optimizer=settings.sparse.optimizer,
        grad_process=settings.grad_process,
        precision=settings.precision,
    )


def _machine(runtime: Runtime, free: int | None) -> Machine:
    neighbours = environment.number("LOCAL_WORLD_SIZE", 1)
    return Machine(runtime.world, runtime.device, free, neighbours)


def watch(pipeline: Pipeline, tasks: TaskSet) -> Watch:
    """The best checkpoint by export_config, and early_stopping. Raises ConfigError."""
    natures = tasks.natures()
    export, stopping = pipeline.export_config, pipeline.train_config.early_stopping
    key = spelled(tasks, export.best_exporter_metric)
    key = key or next(each for each, larger in natures.items() if larger is not None)
    forced = export.metric_larger_is_better if export.HasField("metric_larger_is_better") else None
    larger = checked_key("export_config.best_exporter_metric", key, natures, forced)
    evaluates = bool(pipeline.eval_input_path)
    best = Best(key, larger) if evaluates else None
    if not pipeline.train_config.HasField("early_stopping"):
        return Watch(best)
    path = "train_config.early_stopping"
    if not evaluates:
        raise ConfigError.at(path, "has no effect without eval_input_path; set it")
    forced = None if stopping.mode == "auto" else stopping.mode == "max"
    monitor = spelled(tasks, stopping.monitor)
    larger = checked_key(f"{path}.monitor", monitor, natures, forced)
    return Watch(best, Best(monitor, larger, stopping.min_delta), stopping.patience)
