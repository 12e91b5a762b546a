"""The training loop."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from tzmmoe.batch import Batch, Position
from tzmmoe.data import recorded
from tzmmoe.data.loader import Loader
from tzmmoe.data.quality import NoLabelsError, Quality
from tzmmoe.data.recorded import FileRecords
from tzmmoe.errors import DataError
from tzmmoe.learning.replicas import align
from tzmmoe.learning.schedules import IdleParts, Schedules
from tzmmoe.learning.step import TrainStep
from tzmmoe.run import averages, state
from tzmmoe.run.ends import Finite, Interruption, Watch
from tzmmoe.run.history import History
from tzmmoe.run.progress import Progress, Speed
from tzmmoe.run.session import Session
from tzmmoe.run.shown.profile import Profile
from tzmmoe.system import checkpoint
from tzmmoe.tasks.taskset import TaskSet

Delivered = tuple[Batch, Position]  # a batch, and the position after it


class Evaluate(Protocol):
    """Returns the results of a step by key; ``is_last``: the run ends with this step."""

    def __call__(self, step: int, *, is_last: bool) -> Mapping[str, float]: ...


class GlobalBatch(NamedTuple):
    """The batches of all processes together: their rows, and what each loss is divided by, divided
    by the number of processes (L,), so that the mean of their losses is that of the global batch.
    None: each loss is a mean over the process's own batch."""

    rows: int
    totals: Tensor | None


@dataclass
class Trainer:
    """Trains a session's model from a position to the end of its schedule.

    ``evaluate``: None if there is nothing to evaluate on. ``watch`` follows the results and can end
    the run early, as can the clock of ``interruption``, but not before the first step. ``steps``
    counts the steps done; the name of a checkpoint has the last of them, counted from 0. Several
    processes do all of this in lockstep.
    """

    session: Session
    step: TrainStep
    schedules: Schedules
    idle: IdleParts
    loader: Loader
    evaluate: Evaluate | None
    watch: Watch
    interruption: Interruption
    finite: Finite
    progress: Progress
    history: History
    speed: Speed | None
    profile: Profile
    evaluation_files: Sequence[str] = ()
    surprises: Callable[[Loader], Sequence[str]] | None = None
    position: Position = field(default_factory=Position)
    steps: int = 0
    _saved_at: int = field(default=0, init=False)  # the steps done at the last save
    _reviewed_at: int = field(default=0, init=False)
    _epochs_done: bool = field(default=False, init=False)
    _compared: bool = field(default=False, init=False)
    _quality_logged: bool = field(default=False, init=False)
    _goes_on: bool = field(default=False, init=False)  # with files that an earlier run began
    _quality_before: Sequence[dict[str, Any]] = field(default=(), init=False)  # of earlier runs

    def __post_init__(self) -> None:
        session = self.session
        self.settings, self.model_dir = session.settings.training, session.model_dir
        self.model, self.tasks = session.built.model, session.built.tasks
        self.device, self.world = session.runtime.device, session.runtime.world
        files, evaluated = self.loader.source.files, self.evaluation_files
        self.files = FileRecords(files if self.world.is_first else (), stat=session.stat)
        self.evaluated = FileRecords(evaluated if self.world.is_first else (), stat=session.stat)

    def resume(
        self,
        position: Position,
        steps: int,
        *,
        is_reviewed: bool,
        quality: dict[str, Any] | None = None,
    ) -> None:
        """Start from a checkpoint of another run. Unless ``is_reviewed``, its ``review`` is due at
        the end of an epoch or of the run. ``quality``: what that run counted, if it is known."""
        self._quality_before = () if quality is None else (quality,)
        rest = self.loader.order.left(position) if position.row else ()
        self._goes_on = any(leg.spans for leg in rest)
        self.position, self.steps, self._saved_at = position, steps, steps
        self._reviewed_at = steps if is_reviewed else 0
        self.history.keep_until(steps - 1)
        self.progress.first_step = steps

    def fit(self) -> None:
        """Train to the end of the schedule.

        Raises:
            DataError: a file is unreadable; a checkpoint of the steps before was saved.
            NotFiniteError: a loss or weight is NaN or infinite; no checkpoint has it.
            Interrupted: a signal of STOPPING arrived; a checkpoint was saved.
        """
        self.model.train()
        with self.interruption.caught(), self.progress, self.profile:
            try:
                while not self.ends():
                    self._train_epoch()
            except DataError as error:
                if (
                    isinstance(error, NoLabelsError)
                    or self.steps == 0
                    or (self.world.size > 1 and not error.is_shared)
                ):
                    raise
                raise self._saved_before(error) from error
            self._log_quality()
            self._tell_idle(self.position.epoch)
            if self.steps > self._reviewed_at:
                self._save_and_evaluate()

    def _saved_before(self, error: DataError) -> DataError:
        """Save the steps before an error; the error, with that checkpoint."""
        if self.steps > self._saved_at:
            self._save(evaluates=False)
        extended = DataError(
            f"{error}\nmodel.ckpt-{self.steps - 1} holds the steps before this error; repair the "
            "file, then pass --continue_train to continue from there, with --accept_changes if the "
            "repaired file differs from the one that was read"
        )
        extended.is_shared = error.is_shared
        return extended

    def _train_epoch(self) -> None:
        """Train to the end of the current epoch, or of the run."""
        epoch, first_step = self.position.epoch, self.steps
        is_whole = not self.world.total(torch.tensor(self.position.row))
        with closing(self.loader.epoch(self.position)) as batches:
            for (batch, position), whole in self.progress.clock.waiting(self._steps(batches)):
                self._compare_values()
                self._learn(batch, whole)
                self.position = position
                self._stop_on_signal()
                self._check_time()
                if self.settings.saves_after_step(self.steps - 1):
                    self._save_and_evaluate()
                if self.ends():
                    return
        if is_whole and self.steps == first_step:
            raise self.loader.lack()
        self._end_epoch(epoch)

    def _compare_values(self) -> None:
        """Warn, once the first batch is read, of ``surprises`` among the rows to evaluate."""
        if self._compared or self.surprises is None:
            return
        self._compared = True
        for line in self.surprises(self.loader):
            self.progress.say(line, logging.WARNING)

    def _learn(self, batch: Batch, whole: GlobalBatch) -> None:
        """Take one step and keep account of it."""
        epoch, exchange = self.position.epoch, self.world.named(f"taking step {self.steps}")
        rates = self.schedules.at(self.steps, epoch)
        self.tasks.weighting.begin(self.steps)
        with self.profile.batch(self.steps + 1), exchange:
            batch = batch.to(self.device)
            logits, losses = self.step(batch, rates, whole.totals)
        self.finite.note(self.steps, losses)
        self.idle.note(rates)
        self.history.note(losses)
        self.steps += 1
        # This check waits for the device, so on a GPU it is made only when a log line is due.
        if self.device.type == "cpu" or self.steps % self.settings.log_step_count_steps == 0:
            self.finite.check_losses()
        self.progress.note(self.steps, losses, whole.rows, rates, epoch)
        if self.speed:
            self.speed.learned(epoch, (logits, losses), batch, whole.rows)
            self.speed.note(self.steps, whole.rows)

    def _steps(self, batches: Iterator[Delivered]) -> Iterator[tuple[Delivered, GlobalBatch]]:
        """The batches with their positions, each with the global batch it belongs to."""
        is_global = self.session.settings.learning.loss_mean == "GLOBAL_BATCH"

        def weigh(delivered: Delivered) -> Tensor:
            batch, _ = delivered
            rows = torch.tensor([float(len(batch))], dtype=torch.float64)
            return torch.cat([rows, self.tasks.divisors(batch)]) if is_global else rows

        def idle() -> Delivered:
            return self.loader.no_rows(), self.position

        if self.world.size == 1:
            yield from ((item, GlobalBatch(len(item[0]), None)) for item in batches)
            return
        for delivered, total in self.interruption.lockstep.steps(batches, idle, weigh):
            totals = (total[1:] / self.world.size).to(self.device) if is_global else None
            yield delivered, GlobalBatch(int(total[0]), totals)

    def _close_history(self, epoch: int) -> None:
        self.history.close(self.steps - 1, epoch, self.progress.clock.trained_s())

    def _tell_idle(self, epoch: int) -> None:
        of_losses = self.tasks.idle_comparisons("training", f"epoch {epoch + 1}", self.world)
        for line in [*self.idle.end_epoch(epoch), *of_losses]:
            self.progress.say(line, logging.WARNING)

    def _end_epoch(self, epoch: int) -> None:
        self._log_quality()
        self._tell_idle(epoch)
        self._close_history(epoch)
        if epoch == 0 and (shortfall := self.loader.shortfall(self.position)):
            self.progress.say(shortfall)
        self._epochs_done = bool(self.settings.epochs) and epoch + 1 >= self.settings.epochs
        if self.settings.saves_after_epoch(epoch) and self.steps > self._reviewed_at:
            self._save_and_evaluate()
        if not self._epochs_done:
            self.position = Position(epoch + 1)

    def _log_quality(self) -> None:
        """Log the quality of the data, once: after the first epoch, or at the end of the run."""
        if self._quality_logged:
            return
        quality = Quality.of_all(self.world.gather(self.loader.quality.to_json()))
        if quality.num_rows:
            self.progress.say(quality.report())
            self._quality_logged = True
            self._check_labels(quality)

    def _check_labels(self, quality: Quality) -> None:
        """Warn of labels that nearly all rows lack. Raises NoLabelsError if all do, and did in the
        earlier run that began these files."""
        if any(self.world.gather(self._goes_on)):
            quality = Quality.of_all([*self._quality_before, quality.to_json()])
        try:
            for line in quality.doubts(_labels(self.tasks)):
                self.progress.say(line, logging.WARNING)
        except NoLabelsError as error:
            error.is_shared = True
            raise

    def ends(self) -> bool:
        """Whether the last step of the run is done."""
        is_last = bool(self.settings.num_steps) and self.steps >= self.settings.num_steps
        timed_out = self.interruption.timeout.passed
        return self._epochs_done or self.watch.stopped or timed_out or is_last

    def is_past(self) -> bool:
        """Whether the current epoch is beyond the last one, because num_epochs was lowered."""
        return bool(self.settings.epochs) and self.position.epoch >= self.settings.epochs

    def _check_time(self) -> None:
        """After a step or an evaluation: end a run that has not ended if its time is over."""
        if not self.ends() and self.interruption.time_is_over():
            self.interruption.timeout.passed = True
            self.progress.flush(self.steps)
            self.progress.say(self.interruption.timeout.line(self.steps))

    def _save_and_evaluate(self) -> None:
        if self.ends():
            self.progress.flush(self.steps)
        # If only the time limit ended the run, these results are just for the reader: without the
        # limit there would be no evaluation here, so early stopping must not count it.
        is_due = self.settings.saves_after_step(self.steps - 1)
        counts = not self.interruption.timeout.passed or is_due
        with self.progress.clock.paused(), self.profile.paused():
            if self.steps > self._saved_at:
                self._save(evaluates=counts)
            self.review(counts=counts)
        self.interruption.stop_if_asked()
        self._check_time()

    def review(self, results: Mapping[str, float] | None = None, *, counts: bool = True) -> None:
        """Act on the ``results`` of the last checkpoint; without them, evaluate it first."""
        if self.evaluate and results is None:
            with self.interruption.evaluating(), self.step.averaged():
                results = self.evaluate(self.steps - 1, is_last=self.ends())
            self.model.train()
            self.progress.evaluated(self.steps - 1, results)
        self.session.check_owned()
        if results is not None:
            self.history.evaluated(self.steps - 1, self.position.epoch, results)
        if results is not None and counts:
            self.watch.note(self.steps - 1, results)
        self._reviewed_at = self.steps
        if self.world.is_first:
            steps = self.watch.kept_steps()
            checkpoint.prune(self.model_dir, self.settings.keep_checkpoint_max, steps)

    def _save(self, *, evaluates: bool) -> None:
        self.session.check_owned()
        self._close_history(self.position.epoch)
        self.finite.check_losses()
        align(self.model, self.world)
        weights = state.weights(self.model)
        self.finite.check_weights(self.steps - 1, weights)
        self.interruption.lockstep.check()
        readings = self.world.gather(state.reading(self.loader.order, self.position))
        randoms = self.world.gather(state.random_state(self.device))
        counted = self.world.gather(self.loader.quality_by_position.until(self.position).to_json())
        quality = Quality.of_all([*self._quality_before, *counted])
        tensors = weights | state.optimizer_state(self.step) | averages.tensors(self.step)
        tensors |= state.by_rank(randoms)
        json_state = state.json_state(self.step, readings, self.steps)
        json_state[averages.KEY] = averages.to_json(self.step)
        parts = self.world.gather(self.loader.files_by_position.until(self.position))
        if self.world.is_first:  # which writes them
            records = self.files.until(self.loader.order.files, set().union(*parts))
            json_state["files"] = recorded.to_json(records)
            evaluated = self.evaluated.until(self.evaluation_files, ())
            json_state["evaluation_files"] = recorded.to_json(evaluated)
        json_state["csv_quoting"] = self.session.reading.quoting
        json_state |= {"watch": self.watch.to_json(), "evaluates": evaluates}
        json_state |= {"eval_split": self.session.settings.split_json}
        json_state |= {"quality": quality.to_json(), **self.session.fingerprint.to_json()}
        text = self.session.settings.text
        content = checkpoint.Content(self.steps - 1, tensors, json_state, text)
        began = time.monotonic()
        with self.interruption.saving():
            path = checkpoint.save(self.model_dir, content, self.world)
            self.session.owned.newest = path
            self.world.first(lambda: checkpoint.prefer(self.model_dir, None))
        self._saved_at = self.steps
        self.progress.say(f"saved {path}")
        if doubt := self.interruption.grace.doubt(time.monotonic() - began):
            self.progress.say(doubt, logging.WARNING)

    def _stop_on_signal(self) -> None:
        if self.interruption.signum() and self.steps > self._saved_at:
            self._save(evaluates=self.settings.saves_after_step(self.steps - 1))
            self.progress.say("stopped; --continue_train goes on from this checkpoint")
        self.interruption.stop_if_asked()


def _labels(tasks: TaskSet) -> dict[str, list[str]]:
    """The label columns, each with the tasks that learn from it."""
    labels: dict[str, list[str]] = {}
    for task in tasks.tasks:
        for column in task.columns() if task.is_learned else ():
            if column.role == "label":
                labels.setdefault(column.name, []).append(task.in_messages)
    return {name: list(dict.fromkeys(owners)) for name, owners in labels.items()}
