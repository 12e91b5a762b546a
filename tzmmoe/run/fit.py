"""A training run in a model_dir: how it starts or resumes, and what it writes there."""

import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import torch

from tzmmoe.data.loader import Loader
from tzmmoe.data.reading.files import NoFilesError
from tzmmoe.data.recorded import FileRecords
from tzmmoe.errors import CheckpointError, ConfigError
from tzmmoe.learning.schedules import IdleParts
from tzmmoe.learning.step import TrainStep
from tzmmoe.run import averages, folder, state
from tzmmoe.run.changes import files, moved, report
from tzmmoe.run.changes.moved import PathMap
from tzmmoe.run.ends import Finite, Grace, Interruption, Timeout
from tzmmoe.run.evaluate import Evaluations
from tzmmoe.run.finetuning import start
from tzmmoe.run.folder import RunLog
from tzmmoe.run.history import History
from tzmmoe.run.progress import Progress, Speed
from tzmmoe.run.results import TRAINING_RESULTS, results_of_step
from tzmmoe.run.session import Session
from tzmmoe.run.shown.profile import Profile
from tzmmoe.run.shown.summary import Memory, summary
from tzmmoe.run.trainer import Trainer
from tzmmoe.system import checkpoint, durable
from tzmmoe.system.runtime import short_bytes, versions

log = logging.getLogger(__name__)


class TrainRun:
    """One training run. ``continue_train`` resumes from the newest checkpoint; ``began`` is the
    start of the command on the clock of time.monotonic."""

    def __init__(
        self,
        session: Session,
        *,
        began: float,
        continue_train: bool = False,
        ignore_restore_optimizer: bool = False,
        accept_changes: bool = False,
        map_path: str | Sequence[str] = (),
    ) -> None:
        self.session = session
        self.continue_train = continue_train
        self.ignore_restore_optimizer = ignore_restore_optimizer
        self.accept_changes = accept_changes
        self.paths = PathMap.of(map_path)
        timeout = Timeout.of(session.settings.runtime.timeout, began)
        grace = Grace.of(session.settings.runtime.grace_period)
        self.interruption = Interruption(session.runtime.world, timeout, grace)
        self.evaluations = Evaluations(session, self.interruption)

    def run(self, record: RunLog | None = None) -> dict[str, float]:
        """Train to the end; the results of the last evaluation, empty without one.

        ``record`` is opened in the model_dir once no other run can use it.

        Raises:
            CheckpointError: the model_dir holds a checkpoint, and ``continue_train`` is not set.
        """
        world = self.session.runtime.world
        saved = self._undamaged(world.first(lambda: self._newest(folder.free_newest)))
        if saved is None:
            self._warn_without_checkpoint()
        else:
            self.session.read_as(saved.path)
        trainer = self._trainer(resumes=saved is not None)
        with ExitStack() as held:
            world.first(lambda: self._open_folder(held, saved and saved.path, record))
            return self._train(trainer, saved)

    def check_only(self) -> None:
        """Build everything and read the first batch, without training.

        A checkpoint in the model_dir, which training would refuse without ``continue_train``, is
        left alone.
        """
        world = self.session.runtime.world
        held = world.first(lambda: folder.newest(self.session.model_dir, resumes=True))
        newest = world.first(lambda: self._newest(folder.newest)) if self._resumes else None
        if newest:
            self.session.read_as(newest)
        else:
            self._warn_without_checkpoint(held)
        trainer = self._trainer(resumes=newest is not None)
        if newest:
            self._compare(trainer, self.session.restore(newest))
        else:
            world.each(lambda: start.take_weights(self.session))
        self.evaluations.read_first()
        self._log_plan(trainer)
        batch, _ = next(trainer.loader.epoch(trainer.position), (None, None))
        if not any(world.gather(batch is not None)):
            raise trainer.loader.lack()
        batch = (batch or trainer.loader.no_rows()).to(trainer.device)
        with torch.no_grad():
            trainer.step.losses(trainer.step.forward(batch.inputs), batch, None)
        for line in self.evaluations.surprises(trainer.loader):
            log.warning("%s", line)
        log.info("%s", trainer.loader.quality.report())
        log.info("the config fits the data; the first batch has %s rows", f"{len(batch):,}")
        if held and not newest:
            log.warning("%s", folder.refusal(held))

    @property
    def _resumes(self) -> bool:
        return self.continue_train or self.session.runtime.world.has_restarted

    def _newest(self, search: Callable[..., Path | None]) -> Path | None:
        """The checkpoint to resume from; ``search`` is a function of ``folder``."""
        newest = search(self.session.model_dir, resumes=self._resumes)
        if newest and self.session.settings.training.fine_tune_checkpoint:
            log.info("fine_tune_checkpoint is not read again: the run resumes from its own")
        return newest

    def _undamaged(self, newest: Path | None) -> checkpoint.Checkpoint | None:
        """The newest checkpoint that is whole. Those after it are set aside, with a warning.

        Raises:
            CheckpointError: the only one is damaged, or one has another format.
        """
        if newest is None:
            return None
        world = self.session.runtime.world
        try:
            return world.each(lambda: checkpoint.open_checkpoint(newest, world))
        except checkpoint.DamagedError as error:
            earlier = world.first(lambda: checkpoint.set_aside(newest))
            if earlier is None:
                raise
            what, _, _ = str(error).partition("; ")  # the rest is advice to do what is done here
            words = "%s; the checkpoint is kept as %s.damaged, and the run goes on from %s"
            log.warning(words, what, newest.name, earlier.name)
            return self._undamaged(earlier)

    def _warn_without_checkpoint(self, held: Path | None = None) -> None:
        """``held``: a checkpoint from which the run does not resume."""
        reason = f"{self.session.model_dir} holds no checkpoint"
        reason = "it needs --continue_train" if held else reason
        flags = {
            "--continue_train": self.continue_train,
            "--ignore_restore_optimizer": self.ignore_restore_optimizer,
            "--accept_changes": self.accept_changes,
            "--map_path": bool(self.paths.moves),
        }
        for flag in (flag for flag, is_set in flags.items() if is_set):
            log.warning("%s has no effect: %s", flag, reason)

    def _open_folder(self, held: ExitStack, newest: Path | None, record: RunLog | None) -> None:
        model_dir = self.session.model_dir
        held.enter_context(self.session.owned.taken(model_dir, newest))
        if record:
            record.open(model_dir)

    def _train(self, trainer: Trainer, saved: checkpoint.Checkpoint | None) -> dict[str, float]:
        """Train in a model_dir that no other run can use."""
        session, world = self.session, trainer.world
        if saved:
            self._resume(trainer, saved)
        else:
            trainer.history.keep_until(-1)
            world.each(lambda: start.take_weights(self.session))
        self.evaluations.read_first()
        if world.is_first:
            durable.write_text(session.model_dir / "pipeline.config", session.settings.text)
            line = {"first_step": trainer.steps, "device": str(trainer.device), **versions()}
            with durable.appending(session.model_dir / "runs.jsonl") as file:
                file.seek(0, os.SEEK_END)
                file.write((json.dumps(line) + "\n").encode())
        self._log_plan(trainer)
        first = trainer.steps
        if not trainer.is_past():
            trainer.fit()
        if saved and trainer.steps == first:
            _log_finished(trainer)
        if pending := trainer.step.dense.pending:
            log.info(
                "gradient_accumulation_steps: the dense part was not updated with the last %d "
                "batches; the checkpoint keeps their gradients for --continue_train",
                pending,
            )
        return self._finish(trainer)

    def _trainer(self, *, resumes: bool) -> Trainer:
        session, settings = self.session, self.session.settings
        training, learning = settings.training, settings.learning
        loader = self._loader(resumes)
        self.evaluations.check()
        self.evaluations.warn_of_leaks(loader)
        count_steps = partial(loader.steps, training.num_steps, training.epochs)
        total_steps = count_steps()
        if total_steps is not None and total_steps < learning.accumulation:
            log.warning(
                "train_config.gradient_accumulation_steps is %d, but the run has only %d steps, so "
                "the dense part is never updated",
                learning.accumulation,
                total_steps,
            )
        built, device, world = session.built, session.runtime.device, session.runtime.world
        step = TrainStep.of(built.model, built.tasks, learning, device, world)
        world.each(lambda: self._check_memory(step))
        shows = training.use_tensorboard and world.is_first
        progress = Progress(
            every=training.log_step_count_steps,
            total_steps=count_steps,
            folder=session.model_dir if shows else None,
            epochs=training.epochs,
            hidden=built.tasks.unlearned_keys(),
            world=world,
        )
        profiled = training.tensorboard["profile_batch"] if training.tensorboard else ()
        return Trainer(
            session=session,
            step=step,
            schedules=learning.schedules(),
            idle=IdleParts(learning.schedules(), step.parts()),
            loader=loader,
            evaluate=self.evaluations.after if settings.files.eval_input_path else None,
            watch=session.watch(),
            interruption=self.interruption,
            finite=self._finite(),
            progress=progress,
            history=History(session.model_dir, world),
            speed=Speed.of(training.train_speed_logger, progress, built.tasks, device),
            profile=Profile(
                profiled if world.is_first else (), session.model_dir / "profile", device
            ),
            evaluation_files=self.evaluations.files(),
            surprises=self.evaluations.surprises,
        )

    def _finite(self) -> Finite:
        tasks, model = self.session.built.tasks, self.session.built.model
        keys = [*tasks.loss_keys(), *(["regularization"] if model.is_regularized else [])]
        refuse, device = self.interruption.lockstep.refuse, self.session.runtime.device
        return Finite(keys, device, self.session.model_dir, refuse)

    def _loader(self, resumes: bool) -> Loader:
        """Of train_input_path. Columns of metrics are read only if metrics are computed."""
        settings = self.session.settings
        logger = settings.training.train_speed_logger
        measured = bool(logger and logger["with_metrics"])
        columns = self.session.built.tasks.columns(measured=measured)
        path = settings.files.train_input_path
        try:
            return self.session.loader(path, "--train_input_path", columns, training=True)
        except NoFilesError as error:
            if resumes:
                raise NoFilesError(f"{error}; {moved.ADVICE} {moved.FLAG} OLD=NEW") from error
            raise

    def _check_memory(self, step: TrainStep) -> None:
        """Raise ConfigError if tables and optimizers do not fit into memory."""
        memory, free = Memory.of(step), self.session.free_bytes
        if free is not None and memory.needed > free:
            raise ConfigError.at(
                "train_config.sparse_optimizer",
                f"needs {short_bytes(memory.needed)} including the tables, but only "
                f"{short_bytes(free)} of memory is free; rowwise_adagrad_optimizer keeps a single "
                "number per row",
            )

    def _resume(self, trainer: Trainer, saved: checkpoint.Checkpoint) -> None:
        """Continue after a checkpoint."""
        trainer.world.each(lambda: self._restore(trainer, saved))
        positions, steps = self._compare(trainer, saved)
        state.restore_random(saved, trainer.device, trainer.world)
        saved.release()
        before, split = saved.state.get("eval_split"), self.session.settings.split_json
        if before != split:
            raise CheckpointError(
                f"{saved.path}: was trained with data_config.eval_split {before or 'unset'}, but "
                f"it is {split or 'unset'}; restore it, or start a new model_dir with "
                "--fine_tune_checkpoint"
            )
        position = trainer.loader.resume(positions, steps)
        evaluates = saved.state["evaluates"]
        quality = saved.state.get("quality")  # checkpoints of earlier versions lack it
        trainer.resume(position, steps, is_reviewed=evaluates, quality=quality)
        trainer.watch.restore(saved.state["watch"])
        log.info("continuing after step %s of %s", f"{steps - 1:,}", saved.path)
        if not evaluates and not trainer.is_past():  # a run that is past needs an evaluation
            return
        results = results_of_step(self.session.model_dir / TRAINING_RESULTS, steps - 1)
        is_complete = results is not None and trainer.watch.keys() <= results.keys()
        trainer.review(results if is_complete else None)

    def _compare(
        self, trainer: Trainer, saved: checkpoint.Checkpoint
    ) -> tuple[list[moved.Reading], int]:
        """Tell what has changed since a checkpoint; its positions in the files of today, and steps.

        Raises:
            ChangedError: the config or a file means something else.
        """
        positions, steps = state.positions(saved)
        positions = self.paths.readings(positions)
        world, source, stat = trainer.world, trainer.loader.source, self.session.stat

        def compared() -> None:
            found = files.file_changes(saved, self.paths, source.files, stat)
            evaluated = trainer.evaluation_files
            found.notes += files.evaluation_changes(saved, self.paths, evaluated, stat)
            accepts, kinds = self.accept_changes, report.RESUMING
            report.report_changes(self.session, saved, kinds, accepts=accepts, files=found)
            trainer.files = FileRecords(source.files, found.records, stat)

        world.first(compared)
        return positions, steps

    def _restore(self, trainer: Trainer, saved: checkpoint.Checkpoint) -> None:
        """Weights, their averages, and the optimizers' state."""
        with state.advising(report.misfit_advice(saved)):
            self.session.fingerprint.check(saved)
            self.session.restore_weights(saved, averaged=False)
        if line := averages.restore(saved, trainer.step):
            log.info("%s", line)
        if self.ignore_restore_optimizer:
            log.info("the optimizers start from scratch")
            return
        try:
            state.restore_optimizers(saved, trainer.step)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}\nto continue with the weights alone, pass --ignore_restore_optimizer"
            ) from error

    def _log_plan(self, trainer: Trainer) -> None:
        """What will be trained, and which parts will not."""
        log.info("%s", summary(self.session.built.model, trainer.step))
        log.info("%s", Memory.of(trainer.step).line(self.session.free_bytes))
        if trainer.step.averages:
            log.info("%s", averages.plan(trainer.step.averages))
        training = trainer.settings
        total = trainer.loader.steps(training.num_steps, training.epochs)
        steps = None if total is None else range(trainer.steps, total)
        epochs = range(trainer.position.epoch, training.epochs) if training.epochs else None
        for line in trainer.idle.ahead(steps, epochs):
            log.warning("%s", line)

    def _finish(self, trainer: Trainer) -> dict[str, float]:
        """Choose the final weights and evaluate them; the results."""
        session, watch, step = self.session, trainer.watch, trainer.steps - 1
        averaged = trainer.step.averaged()
        if watch.stopped:
            restores = watch.restores and watch.stopping.step is not None
            step = watch.stopping.step if restores else step
            log.info("%s; model.ckpt-%d is the result", watch.line(), step)
            if restores:
                trainer.world.first(lambda: checkpoint.prefer(session.model_dir, step))
                session.restore(session.model_dir / f"model.ckpt-{step}")
                averaged = nullcontext()  # a checkpoint gives the averages by itself
        with averaged:
            results = self.evaluations.finish(step)
        if trainer.world.is_first:
            goes_on = self.interruption.timeout.passed
            best, modules = watch.best, session.modules
            taken = range(trainer.progress.first_step, trainer.steps)
            end = folder.signpost(
                *(session.model_dir, taken, step, best, modules),
                goes_on=goes_on,
                frames=session.frames,
            )
            log.info("%s", end)
        return results


def _log_finished(trainer: Trainer) -> None:
    why, remedy = "", "raise num_epochs or num_steps, or add training files"
    if trainer.watch.stopped:
        why, remedy = " by early stopping", "raise early_stopping.patience"
    elif trainer.is_past():
        epoch, num_epochs = trainer.position.epoch + 1, trainer.settings.epochs
        why = f": epoch {epoch} of the checkpoint is past num_epochs {num_epochs}"
        remedy = "raise num_epochs"
    step = f"{trainer.steps - 1:,}"
    log.info("already finished at step %s%s; to continue, %s", step, why, remedy)
