"""A training run in a model_dir: starting, going on, and what it leaves there."""

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch

from tzmmoe import build
from tzmmoe.data.loader import Loader
from tzmmoe.errors import CheckpointError, ConfigError, Faults
from tzmmoe.learning.settings import Settings
from tzmmoe.learning.step import Optimization
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import fields
from tzmmoe.run import folder, state
from tzmmoe.run import results as report
from tzmmoe.run.ends import Timeout
from tzmmoe.run.evaluate import Evaluations
from tzmmoe.run.folder import RunLog
from tzmmoe.run.profile import Profile
from tzmmoe.run.progress import Progress, Speed
from tzmmoe.run.session import Session, placement, watch
from tzmmoe.run.state import read_map
from tzmmoe.run.summary import Memory, summary
from tzmmoe.run.trainer import Trainer
from tzmmoe.system import checkpoint, durable
from tzmmoe.system.runtime import short_bytes, versions

log = logging.getLogger(__name__)


def check(pipeline: Pipeline, built: build.Built | None, faults: Faults) -> None:
    """Add the faults of what only training needs."""
    with faults.under(""):
        Optimization.check(Settings.of(fields(pipeline.train_config)), faults)
        placement(pipeline, trains=True).check()
    if built:
        with faults.under(""):
            watch(pipeline, built.tasks)
    named = Path(pipeline.model_dir)
    there = next(path for path in (named, *named.parents) if path.exists())
    if not there.is_dir():
        faults.add("model_dir", f"{there} is a file; name a folder")
    elif not os.access(there, os.W_OK):
        faults.add("model_dir", f"{there} cannot be written; name another folder")


@dataclass
class Fitting:
    """One run of training. ``continue_train`` goes on from the newest checkpoint; ``began`` is when
    the command did, by time.monotonic."""

    session: Session
    continue_train: bool = False
    ignore_restore_optimizer: bool = False
    began: float = field(default_factory=time.monotonic)

    def run(self, record: RunLog | None = None) -> dict[str, float]:
        """Train to the end; the results of the last evaluation, empty without one.

        ``record`` is told the model_dir once that is known to be free for this run.

        Raises:
            CheckpointError: a model_dir that holds a checkpoint, without ``continue_train``.
        """
        world = self.session.runtime.world
        found = world.first(lambda: self._found(folder.begun))
        self._warn_without_checkpoint(found is not None)
        trainer = self._trainer()
        with ExitStack() as kept:
            world.first(lambda: self._open_folder(kept, found, record))
            return self._train(trainer, found)

    def _train(self, trainer: Trainer, found: Path | None) -> dict[str, float]:
        """In a model_dir that is free for this run."""
        session, world = self.session, trainer.world
        if found:
            self._resume(trainer, found)
        else:
            world.each(self._fine_tune)
        if world.is_first:
            durable.write_text(session.model_dir / "pipeline.config", session.text())
            self._record(trainer.steps)
        self._say_summary(trainer)
        first = trainer.steps
        if not _is_past(trainer):
            trainer.fit()
        if found and trainer.steps == first:
            _say_nothing_left(trainer)
        return self._finish(trainer)

    def _open_folder(self, kept: ExitStack, found: Path | None, record: RunLog | None) -> None:
        model_dir = self.session.model_dir
        kept.enter_context(folder.own(model_dir, found))
        if record:
            record.open(model_dir)

    def _found(self, look: Callable[..., Path | None]) -> Path | None:
        """The checkpoint to go on from, as a function of ``folder`` sees it."""
        goes_on = self.continue_train or self.session.runtime.world.has_restarted
        found = look(self.session.model_dir, goes_on=goes_on)
        if found and self.session.pipeline.train_config.fine_tune_checkpoint:
            log.info("fine_tune_checkpoint is not read again: the run goes on from its own")
        return found

    def _warn_without_checkpoint(self, found: bool) -> None:
        flags = {
            "--continue_train": self.continue_train,
            "--ignore_restore_optimizer": self.ignore_restore_optimizer,
        }
        for flag in (flag for flag, given in flags.items() if given and not found):
            log.warning("%s has no effect: %s holds no checkpoint", flag, self.session.model_dir)

    def check_only(self) -> None:
        """Build everything and read the first batch, without training."""
        world = self.session.runtime.world
        found = world.first(lambda: self._found(folder.newest))
        trainer = self._trainer()
        if found:
            self.session.restore(found)
        else:
            world.each(self._fine_tune)
        self._say_summary(trainer)
        batch, _ = next(trainer.loader.epoch(trainer.position), (None, None))
        if not any(world.gather(batch is not None)):
            raise trainer.loader.lack()
        batch = batch or trainer.loader.no_rows()
        batch = batch.to(trainer.device)
        with torch.no_grad(), trainer.optimization.autocast():
            logits = trainer.model(batch.inputs)
        trainer.tasks.losses(logits, batch)
        log.info("%s", trainer.loader.quality.report())
        log.info("the config fits the data; the first batch has %s rows", f"{len(batch):,}")

    def _trainer(self) -> Trainer:
        session, pipeline = self.session, self.session.pipeline
        settings = Settings.of(fields(pipeline.train_config))
        loader = self._loader()
        self.evaluations.check()
        count_steps = partial(loader.steps, settings.num_steps, settings.num_epochs)
        total_steps = count_steps()
        if total_steps is not None and total_steps < settings.accumulation:
            log.warning(
                "train_config.gradient_accumulation_steps: the dense part never steps: the run has "
                "%d steps",
                total_steps,
            )
        built, device, world = session.built, session.runtime.device, session.runtime.world
        optimization = Optimization(built.model, built.tasks, settings, device, world)
        world.each(lambda: self._check_memory(optimization))
        tensorboard = pipeline.train_config.use_tensorboard and world.is_first
        progress = Progress(
            every=settings.log_every,
            total_steps=count_steps,
            folder=session.model_dir if tensorboard else None,
            world=world,
        )
        trainer = Trainer(
            model=built.model,
            tasks=built.tasks,
            loader=loader,
            optimization=optimization,
            progress=progress,
            watch=watch(pipeline, built.tasks),
            model_dir=session.model_dir,
            config=session.text(),
            meaning=session.meaning,
            evaluate=None,
            timeout=Timeout.of(pipeline.runtime_config.timeout, self.began),
            speed=Speed.of(settings.speed, progress, built.tasks, device),
            profile=Profile(
                settings.profiled if world.is_first else (), session.model_dir / "profile", device
            ),
        )
        if pipeline.eval_input_path:
            trainer.evaluate = partial(self._evaluate, trainer)
        return trainer

    def _loader(self) -> Loader:
        """Of train_input_path. The columns that group rows are for metrics only."""
        pipeline, columns = self.session.pipeline, self.session.built.tasks.columns()
        if not pipeline.train_config.train_speed_logger.with_metrics:
            columns = [column for column in columns if column.role != "group"]
        path = pipeline.train_input_path
        return self.session.loader(path, "--train_input_path", columns, training=True)

    @cached_property
    def evaluations(self) -> Evaluations:
        return Evaluations(self.session)

    def _evaluate(self, trainer: Trainer, step: int) -> dict[str, float]:
        stop = trainer.stop_if_asked
        return self.evaluations.after(step, trainer.together, is_last=trainer.ends(), poll=stop)

    def _restore(self, trainer: Trainer, saved: checkpoint.Checkpoint) -> None:
        """Weights, and the optimizers' state."""
        state.restore_weights(saved, trainer.model)
        if self.ignore_restore_optimizer:
            log.info("the optimizers start afresh")
            return
        try:
            state.restore_optimizers(saved, trainer.optimization)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}\nto go on with the weights alone, pass --ignore_restore_optimizer"
            ) from error

    def _resume(self, trainer: Trainer, found: Path) -> None:
        """Go on where a checkpoint was written."""
        saved = trainer.world.each(lambda: self.session.fitting_checkpoint(found))
        trainer.world.each(lambda: self._restore(trainer, saved))
        state.restore_random(saved, trainer.device, trainer.world)
        stands, steps = state.stands(saved)
        position = trainer.loader.resume(stands)
        evaluates = saved.state["evaluates"]
        trainer.resume(position, steps, is_reviewed=evaluates)
        trainer.watch.restore(saved.state["watch"])
        log.info("going on after step %s of %s", f"{steps - 1:,}", saved.path)
        if not evaluates and not _is_past(trainer):  # whose last checkpoint is evaluated
            return
        results = report.of_step(self.session.model_dir / report.TRAINING, steps - 1)
        is_known = results is not None and trainer.watch.keys() <= results.keys()
        trainer.review(results if is_known else None)

    def _fine_tune(self) -> None:
        config = self.session.pipeline.train_config
        if not config.fine_tune_checkpoint:
            return
        path, mapping = Path(config.fine_tune_checkpoint), None
        if config.fine_tune_ckpt_param_map:  # which says itself what goes where
            mapping = read_map(Path(config.fine_tune_ckpt_param_map))
            saved = checkpoint.open_checkpoint(checkpoint.resolved(path))
        else:
            saved = self.session.fitting_checkpoint(path)
        log.info("%s", state.fine_tune(saved, self.session.built.model, mapping))

    def _finish(self, trainer: Trainer) -> dict[str, float]:
        """Choose the run's result, and write predictions if the config asks for them."""
        session, pipeline = self.session, self.session.pipeline
        step, best = trainer.steps - 1, trainer.watch.stopping
        if trainer.watch.stopped:
            stopping = pipeline.train_config.early_stopping
            restores = stopping.restore_best_weights and best.step is not None
            step = best.step if restores else step
            log.info("%s; model.ckpt-%d is the result", trainer.watch.line(), step)
            if restores:
                trainer.world.first(lambda: checkpoint.prefer(session.model_dir, step))
                session.restore(session.model_dir / f"model.ckpt-{step}")
        return self.evaluations.finish(step)

    def _say_summary(self, trainer: Trainer) -> None:
        log.info("%s", summary(trainer.model, trainer.optimization))
        log.info("%s", Memory.of(trainer.optimization).line(self.session.free_bytes))

    def _check_memory(self, optimization: Optimization) -> None:
        """Raise ConfigError when tables and optimizers do not fit."""
        memory, free = Memory.of(optimization), self.session.free_bytes
        if free is not None and memory.needed > free:
            raise ConfigError.at(
                "train_config.sparse_optimizer",
                f"needs {short_bytes(memory.needed)} with the tables, but {short_bytes(free)} of "
                "memory are free; rowwise_adagrad_optimizer keeps one number for each row",
            )

    def _record(self, steps: int) -> None:
        """What this run was made with, a line of JSON for each start."""
        line = {"first_step": steps, "device": str(self.session.runtime.device), **versions()}
        with (self.session.model_dir / "runs.jsonl").open("a") as opened:
            opened.write(json.dumps(line) + "\n")


def _is_past(trainer: Trainer) -> bool:
    """Whether the run stands in an epoch after its last one, because num_epochs was lowered."""
    num_epochs = trainer.settings.num_epochs
    return bool(num_epochs) and trainer.position.epoch >= num_epochs


def _say_nothing_left(trainer: Trainer) -> None:
    what = "the run ended"
    more = "raise num_epochs or num_steps, or name more training files"
    if trainer.watch.stopped:
        more = "raise early_stopping.patience, for it stopped early"
    elif _is_past(trainer):
        epoch, num_epochs = trainer.position.epoch + 1, trainer.settings.num_epochs
        what = f"epoch {epoch} of the checkpoint is past num_epochs {num_epochs}; the run ends"
        more = "raise num_epochs"
    step = f"{trainer.steps - 1:,}"
    log.info("nothing was left to train: %s with step %s; to go on, %s", what, step, more)
