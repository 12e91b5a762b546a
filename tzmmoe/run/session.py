"""A config ready to run: its settings and objects on their device, and access to its files."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tzmmoe import private_torch
from tzmmoe.batch import Batch, Column
from tzmmoe.build.features import check_constraints
from tzmmoe.build.model import Built, build
from tzmmoe.config import Config, duration
from tzmmoe.data.encode import Assembler
from tzmmoe.data.frames.frame import Frame
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan.sharing import count
from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.data.reading.files import NO_FRAMES, Reading, expand, open_source
from tzmmoe.data.reading.partitions import with_partitions
from tzmmoe.data.reading.split import part_of
from tzmmoe.data.recorded import FileRecord
from tzmmoe.data.unfit import check_types
from tzmmoe.errors import CheckpointError, DataError, Faults
from tzmmoe.learning.lockstep import Lockstep
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.run import averages, folder, state
from tzmmoe.run.ends import Watch
from tzmmoe.run.results import append_results
from tzmmoe.run.settings import RunSettings
from tzmmoe.run.state import Fingerprint
from tzmmoe.system import checkpoint
from tzmmoe.system.pathkind import no_checkpoint
from tzmmoe.system.runtime import (
    Runtime,
    allow_tf32,
    find_device,
    free_bytes,
    meet,
    num_neighbours,
    num_processes,
)
from tzmmoe.tables.placement import Machine, place
from tzmmoe.tables.sharded import ShardedTables
from tzmmoe.tasks.taskset import TaskSet

log = logging.getLogger(__name__)

PATHS = (  # fields whose flags have the last part of their names
    *("train_input_path", "eval_input_path", "test_input_path", "model_dir"),
    "train_config.fine_tune_checkpoint",
)


@dataclass
class CsvQuotes:
    """How quotes in CSV files are read where the config leaves it open: as a checkpoint says, or as
    the first file that was opened shows. None: not known yet."""

    word: str | None = None

    def of(self, reading: Reading) -> Reading:
        """How files are read with that."""
        if self.word is None or reading.quoting != "AUTO":
            return reading
        return replace(reading, quoting=self.word, is_chosen=True)

    def note(self, source: Source) -> None:
        """Keep what a source chose by looking at its first file, and say so."""
        if isinstance(source, CsvSource) and source.quoting.is_chosen and self.word is None:
            self.word = source.quoting.word
            if source.reason:
                log.info(
                    "data_config.quoting is taken as %s: %s of %s",
                    self.word,
                    source.reason,
                    source.files[0],
                )


@dataclass(frozen=True)
class Session:
    """The model of a config on its device, with loaders for its files."""

    settings: RunSettings
    built: Built
    runtime: Runtime
    free_bytes: int | None  # of the device, before the model was made
    modules: Sequence[str] = ()  # of the user's, which may be imported
    origins: Mapping[str, str] = field(default_factory=dict)  # of paths, by their flags
    frames: Mapping[str, Frame] = field(default_factory=dict)  # in memory, by name
    csv_quotes: CsvQuotes = field(default_factory=CsvQuotes)
    owned: folder.Ownership = field(default_factory=folder.Ownership)

    @classmethod
    def start(
        cls,
        config: Config,
        *,
        device: str | None = None,
        needs: Sequence[str] = (),
        trains: bool = False,
        whole: bool = False,
        frames: Mapping[str, Frame] = NO_FRAMES,
    ) -> "Session":
        """Build everything.

        ``needs``: fields of the config that must be set. ``trains``: the model will be trained,
        which can have faults of its own. ``whole``: each process needs all tables. ``frames``: by
        the names that stand for paths in the config.

        Raises:
            ConfigError: all faults at once.
        """
        pipeline, faults, unmet = config.pipeline, Faults(config.faults), Faults()
        free = free_bytes(torch.device("cpu"))
        settings = RunSettings.of(pipeline, faults, trains=trains)
        settings.files.check(needs, faults)
        spread = 1 if whole or settings.placement.placement == "REPLICATED" else num_processes()
        built = build(pipeline, config.folder, faults, spread, free, config.modules)
        if trains:
            check(settings, built, faults)
        with faults.under(""):
            where = "--device" if device else "runtime_config.device"
            torch_device = find_device(device or settings.runtime.device, where)
            if spread > 1:
                check_constraints(pipeline, torch_device.type, unmet, trains=trains)
        if settings.placement.placement == "SHARDED":
            faults += unmet
        faults.stop(config.locate)
        for line in config.rules.notes(pipeline):
            log.warning("%s", line)
        world = meet(torch_device, duration.seconds(settings.runtime.collective_timeout))
        deterministic = settings.runtime.deterministic
        runtime = Runtime.start(
            torch_device, settings.runtime.seed, world, deterministic=deterministic
        )
        _set_arithmetic(settings, built, runtime)
        if runtime.device.type != "cpu":
            free = free_bytes(runtime.device)
        if not whole:
            machine = Machine(runtime.world, runtime.device, free, num_neighbours())
            place(built.model, replace(settings.placement, unfit=tuple(unmet)), machine)
        built.model.to(runtime.device)
        return cls(settings, built, runtime, free, config.modules.allowed, _origins(config), frames)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What the weights depend on; a checkpoint must have the same."""
        return Fingerprint.of(self.built)

    @property
    def model_dir(self) -> Path:
        return self.settings.files.folder

    @property
    def reading(self) -> Reading:
        """How files are read, also those that are opened later."""
        return self.csv_quotes.of(self.settings.reading)

    def read_as(self, path: Path) -> None:
        """Read CSV files as a checkpoint, or the preferred one of a model_dir, says.

        One that is missing or damaged is reported when its weights are restored.
        """
        with suppress(OSError, ValueError, CheckpointError):
            saved = json.loads((checkpoint.resolved(path) / "state.json").read_text("utf-8"))
            word = saved.get("csv_quoting", "AUTO")  # earlier versions chose none
            self.csv_quotes.word = None if word == "AUTO" else word
            if "csv_quoting" not in saved and any(".csv" in Path(f).name for f in self.inputs()):
                log.warning(
                    "%s was written by an earlier version, which treated CSV ids such as 102.0 and "
                    "102 as different; this version treats them as equal",
                    path,
                )
        chosen, word = self.settings.reading.quoting, self.csv_quotes.word
        if word and chosen not in ("AUTO", word):
            log.warning(
                "data_config.quoting is %s, but the checkpoint was trained with %s", chosen, word
            )

    def watch(self) -> Watch:
        """A new watch of the evaluations."""
        return Watch.of(self.settings, self.built.tasks)

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
        """Batches of the files at ``path``, which is ``flag`` on the command line.

        ``most``: the number of batches for a single process; several divide their rows.

        Raises:
            DataError: a file does not exist or lacks a column.
        """
        settings, world = self.settings, self.runtime.world

        def opened() -> tuple[Source, Assembler]:
            files = open_source(path, self.origins.get(flag, flag), self.reading, self.frames)
            self.csv_quotes.note(files)
            source = part_of(with_partitions(files), flag, settings.split)
            assembler = Assembler(
                self.built.features,
                columns,
                helpers=self.built.helpers,
                reserved=source.expand(reserved),
                mask_prob=settings.mask_prob if training else 0.0,
            )
            for file in source.files:
                source.check_columns(file, assembler.needed, assembler.readers)
            check_types(source, assembler)
            return source, assembler

        source, assembler = world.each(opened)
        delivery = settings.train_delivery if training else settings.eval_delivery
        size = batch_size or delivery.batch_size
        delivery = replace(
            delivery,
            batch_size=size,
            pin_memory=delivery.pin_memory and self.runtime.device.type == "cuda",
            rank=world.rank,
            world=world.size,
            cut=None if most is None else most * size,
        )
        return Loader(source, assembler, delivery, count(source, world))

    def check_owned(self) -> None:
        """Raise CheckpointError, in all processes, if others may write to the model_dir by now."""
        self.runtime.world.first(self.owned.check)

    def append(self, name: str, step: int, results: Mapping[str, float]) -> None:
        """Add a line of results to a file of the model_dir."""
        self.check_owned()
        if self.runtime.world.is_first:
            append_results(self.model_dir / name, step, results)

    def inputs(self) -> list[str]:
        """The files that the config names, which no output may overwrite."""
        settings, files = self.settings.files, []
        for path in (settings.train_input_path, settings.eval_input_path, settings.test_input_path):
            with suppress(DataError):  # does not exist, or is not local
                files += expand(path, "") if path else ()
        return files

    def stat(self, file: str) -> FileRecord:
        """A file, or a frame, as it is now. Raises OSError."""
        return self.frames[file].record() if file in self.frames else FileRecord.stat(file)

    def opened(self, path: Path) -> checkpoint.Checkpoint:
        """A checkpoint, or the preferred one of a model_dir. Raises CheckpointError."""
        if not (checkpoint.is_checkpoint(path) or checkpoint.find(path)):
            raise CheckpointError(no_checkpoint(path, self._named_by(path)))
        return checkpoint.open_result(path, self.runtime.world)

    def _named_by(self, path: Path) -> str:
        """The fields and flags that can name a checkpoint, or a model_dir, at this path."""
        tuned = self.settings.training.fine_tune_checkpoint
        if tuned is not None and Path(tuned) == path:
            return self.origins["--fine_tune_checkpoint"]
        if path != self.model_dir:
            return "--checkpoint_path"
        return f"{self.origins['--model_dir']} or --checkpoint_path"

    def matching_checkpoint(self, path: Path) -> checkpoint.Checkpoint:
        """As ``opened``, if it has this model's fingerprint. Raises CheckpointError."""
        opened = self.opened(path)
        self.fingerprint.check(opened)
        return opened

    def restore(self, path: Path) -> checkpoint.Checkpoint:
        """Load the weights of a checkpoint, or of the preferred one of a model_dir; their averages
        if it has them."""
        advice = "restore these settings; they are in the checkpoint's pipeline.config"

        def restored() -> checkpoint.Checkpoint:
            with state.advising(advice):
                opened = self.matching_checkpoint(path)
                self.restore_weights(opened, averaged=True)
            return opened

        opened = self.runtime.world.each(restored)
        log.info("weights of %s", averages.source(opened))
        return opened

    def restore_weights(self, opened: checkpoint.Checkpoint, *, averaged: bool) -> None:
        """Load the trained weights; with ``averaged``, the averages of those that have one."""
        with state.explained(opened, self.settings.text):
            if averaged:
                averages.read(opened, state.weights(self.built.model))
            else:
                state.restore_weights(opened, self.built.model)

    def batches(self, loader: Loader) -> Iterator[Batch]:
        """All rows once. If the tables are sharded, the processes take their batches in lockstep,
        empty ones once their own rows are exhausted."""
        if not any(isinstance(part, ShardedTables) for part in self.built.model.modules()):
            return loader.once()
        lockstep = Lockstep(self.runtime.world)
        return (batch for batch, _ in lockstep.steps(loader.once(), loader.no_rows))

    def served(self, *, auxiliary: bool = False) -> TaskSet:
        """The tasks that have outputs in exports and predictions, by export_config.auxiliary;
        ``auxiliary``: all of them in any case."""
        return self.built.tasks.served(auxiliary=auxiliary or self.settings.export.auxiliary)

    @torch.no_grad()
    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Named outputs of a batch with the current weights."""
        model = self.built.model.eval()
        return self.built.tasks.predict(model(batch.to(self.runtime.device).inputs))


def _origins(config: Config) -> dict[str, str]:
    """What set each path of the config, by its flag. Rows that are held out lie where those to
    train on do."""
    fields = {f"--{path.rpartition('.')[2]}": path for path in PATHS}
    if config.pipeline.data_config.HasField("eval_split"):
        fields["--eval_input_path"] = "train_input_path"
    return {flag: config.origin(path) for flag, path in fields.items()}


def check_config(config: Config) -> None:
    """Raise ConfigError with all faults of a config, but for those that matter only to training.

    What building says is left to whoever builds in earnest, and so are the tables' values.
    """
    faults, logger = Faults(config.faults), logging.getLogger("tzmmoe")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[]):
            RunSettings.of(config.pipeline, faults, trains=False)
            build(config.pipeline, config.folder, faults, spread=2, modules=config.modules)
    finally:
        logger.setLevel(level)
    faults.stop(config.locate)


def check(settings: RunSettings, built: Built | None, faults: Faults) -> None:
    """Add the faults that matter only to training, except those of its settings.

    Raises:
        UserError: torch lacks what training needs.
    """
    private_torch.check_training()
    if built:
        with faults.under(""):
            Watch.of(settings, built.tasks)
    folder.check(settings.files.folder, faults)


def _set_arithmetic(settings: RunSettings, built: Built, runtime: Runtime) -> None:
    """TF32, and batch norm over all processes, as train_config says."""
    training = settings.training
    for part in built.model.modules():
        if isinstance(part, BatchNorm):
            part.synced = training.sync_batch_norm and runtime.world.size > 1
    allow_tf32(training.cuda_matmul_allow_tf32, training.cudnn_allow_tf32)
