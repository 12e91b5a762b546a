"""The training loop."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tzmmoe.batch import Batch, Position
from tzmmoe.data.loader import Loader
from tzmmoe.data.quality import Quality
from tzmmoe.errors import DataError
from tzmmoe.learning.replicas import align
from tzmmoe.learning.schedules import Schedules
from tzmmoe.learning.step import TrainStep
from tzmmoe.run import state
from tzmmoe.run.ends import Finite, Interruption, Watch
from tzmmoe.run.profile import Profile
from tzmmoe.run.progress import Progress, Speed
from tzmmoe.run.session import Session
from tzmmoe.system import checkpoint

Read = tuple[Batch, Position]


class Evaluate(Protocol):
    """Gives the results of a step by key; ``is_last``: the run ends with it."""

    def __call__(self, step: int, *, is_last: bool) -> Mapping[str, float]: ...


class Share(NamedTuple):
    """Of what a batch is a part: rows of all processes' batches, and each task's sum of weights in
    them over their number (T,), so that the mean of their losses is that of the global batch. None:
    each loss is a mean over its own batch."""

    rows: int
    totals: Tensor | None


@dataclass
class Trainer:
    """Trains a session's model from a position to the end of its schedule.

    ``evaluate``: None when there is nothing to evaluate on. ``watch`` follows the results, and ends
    the run early; so does the clock of ``interruption``, after a step at the least. ``steps``
    counts the steps done; a checkpoint is named by the last of them, counted from 0. In several
    processes all do so together.
    """

    session: Session
    step: TrainStep
    schedules: Schedules
    loader: Loader
    evaluate: Evaluate | None
    watch: Watch
    interruption: Interruption
    finite: Finite
    progress: Progress
    speed: Speed | None
    profile: Profile
    position: Position = field(default_factory=Position)
    steps: int = 0
    _saved_at: int = field(default=0, init=False)  # steps done then
    _reviewed_at: int = field(default=0, init=False)
    _done: bool = field(default=False, init=False)
    _said_quality: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        session = self.session
        self.settings, self.model_dir = session.settings.training, session.model_dir
        self.model, self.tasks = session.built.model, session.built.tasks
        self.device, self.world = session.runtime.device, session.runtime.world

    def resume(self, position: Position, steps: int, *, is_reviewed: bool) -> None:
        """Start where another run saved; ``review`` is due at the end of an epoch or of the run
        unless ``is_reviewed``."""
        self.position, self.steps, self._saved_at = position, steps, steps
        self._reviewed_at = steps if is_reviewed else 0

    def fit(self) -> None:
        """Train to the end of the schedule.

        Raises:
            DataError: a file that cannot be read on; a checkpoint of the steps before was saved.
            NotFiniteError: a loss is NaN or infinite; the last checkpoint is from before.
            Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
        """
        self.model.train()
        with self.interruption.caught(), self.progress, self.profile:
            try:
                while not self.ends():
                    self._train_epoch()
            except DataError as error:
                if self.steps == 0 or (self.world.size > 1 and not error.is_shared):
                    raise
                raise self._saved_before(error) from error
            self._say_quality()
            if self.steps > self._reviewed_at:
                self._save_and_evaluate()

    def _saved_before(self, error: DataError) -> DataError:
        """The error, with the checkpoint of the steps before it."""
        if self.steps > self._saved_at:
            self._save(evaluates=False)
        told = DataError(
            f"{error}\nthe steps before are in model.ckpt-{self.steps - 1}; once it is "
            "repaired, --continue_train continues from there"
        )
        told.is_shared = error.is_shared
        return told

    def _train_epoch(self) -> None:
        """The rest of the epoch at the position, or of the run."""
        epoch, first_step = self.position.epoch, self.steps
        started_whole = not self.world.total(torch.tensor(self.position.row))
        with closing(self.loader.epoch(self.position)) as batches:
            for (batch, position), share in self.progress.clock.waiting(self._steps(batches)):
                self._learn(batch, share)
                self.position = position
                self._stop_on_signal()
                self._look_at_time()
                if self.settings.saves_after_step(self.steps - 1):
                    self._save_and_evaluate()
                if self.ends():
                    return
        if started_whole and self.steps == first_step:
            raise self.loader.lack()
        self._end_epoch(epoch)

    def _learn(self, batch: Batch, share: Share) -> None:
        """One step, and the accounts of it."""
        epoch, taking = self.position.epoch, self.world.named(f"taking step {self.steps}")
        rates = self.schedules.at(self.steps, epoch)
        with self.profile.batch(self.steps + 1), taking:
            batch = batch.to(self.device)
            logits, losses = self.step(batch, rates, share.totals)
        self.finite.note(self.steps, losses)
        self.steps += 1
        # Looking waits for the device, so on a GPU it happens only where a line is due.
        if self.device.type == "cpu" or self.steps % self.settings.log_step_count_steps == 0:
            self.finite.check_losses()
        self.progress.note(self.steps, losses, share.rows, rates)
        if self.speed:
            self.speed.learned(epoch, (logits, losses), batch, share.rows)
            self.speed.note(self.steps, share.rows)

    def _steps(self, batches: Iterator[Read]) -> Iterator[tuple[Read, Share]]:
        """The batches with their positions, each with what it is a share of."""
        is_global = self.session.settings.learning.loss_mean == "GLOBAL_BATCH"

        def weigh(read: Read) -> Tensor:
            rows = torch.tensor([float(len(read[0]))], dtype=torch.float64)
            return torch.cat([rows, self.tasks.weight_sums(read[0])]) if is_global else rows

        def idle() -> Read:
            return self.loader.no_rows(), self.position

        if self.world.size == 1:
            yield from ((read, Share(len(read[0]), None)) for read in batches)
            return
        for read, total in self.interruption.lockstep.steps(batches, idle, weigh):
            totals = (total[1:] / self.world.size).to(self.device) if is_global else None
            yield read, Share(int(total[0]), totals)

    def _end_epoch(self, epoch: int) -> None:
        self._say_quality()
        if epoch == 0 and (shortfall := self.loader.shortfall(self.position)):
            self.progress.say(shortfall)
        self._done = bool(self.settings.epochs) and epoch + 1 >= self.settings.epochs
        if self.settings.saves_after_epoch(epoch) and self.steps > self._reviewed_at:
            self._save_and_evaluate()
        if not self._done:
            self.position = Position(epoch + 1)

    def _say_quality(self) -> None:
        """At the end of the first epoch, or of a run that ends within it."""
        if self._said_quality:
            return
        quality = Quality.of_all(self.world.gather(self.loader.quality.counts()))
        if quality.num_rows:
            self.progress.say(quality.report())
            self._said_quality = True

    def ends(self) -> bool:
        """Whether the last step of the run is done."""
        reached = self.settings.num_steps and self.steps >= self.settings.num_steps
        timed_out = self.interruption.timeout.passed
        return self._done or self.watch.stopped or timed_out or bool(reached)

    def is_past(self) -> bool:
        """Whether the run stands in an epoch after its last one, because num_epochs was lowered."""
        return bool(self.settings.epochs) and self.position.epoch >= self.settings.epochs

    def _look_at_time(self) -> None:
        """After a step or an evaluation; a run that ends needs no look."""
        if not self.ends() and self.interruption.time_is_over():
            self.interruption.timeout.passed = True
            self.progress.flush(self.steps)
            self.progress.say(self.interruption.timeout.line(self.steps))

    def _save_and_evaluate(self) -> None:
        if self.ends():
            self.progress.flush(self.steps)
        # Where only the time ran out, the results are for the reader: a run without that end would
        # not have them, and early stopping must not count them.
        is_due = self.settings.saves_after_step(self.steps - 1)
        counts = not self.interruption.timeout.passed or is_due
        with self.progress.clock.paused(), self.profile.paused():
            if self.steps > self._saved_at:
                self._save(evaluates=counts)
            self.review(counts=counts)
        self.interruption.stop_if_asked()
        self._look_at_time()

    def review(self, known: Mapping[str, float] | None = None, *, counts: bool = True) -> None:
        """Act on the results of the last step's checkpoint: those ``known``, or evaluate it."""
        if self.evaluate and known is None:
            with self.interruption.evaluating():
                known = self.evaluate(self.steps - 1, is_last=self.ends())
            self.model.train()
            self.progress.evaluated(self.steps - 1, known)
        if known is not None and counts:
            self.watch.note(self.steps - 1, known)
        self._reviewed_at = self.steps
        if self.world.is_first:
            kept = self.watch.kept_steps()
            checkpoint.prune(self.model_dir, self.settings.keep_checkpoint_max, kept)

    def _save(self, *, evaluates: bool) -> None:
        self.finite.check_losses()
        align(self.model, self.world)
        weights = state.weights(self.model)
        self.finite.check_weights(self.steps - 1, weights)
        self.interruption.lockstep.check()
        stands = self.world.gather(state.stand(self.loader.order, self.position))
        randoms = self.world.gather(state.random_state(self.device))
        tensors = weights | state.optimizer_state(self.step) | state.by_rank(randoms)
        facts = state.progress(self.step, stands, self.steps)
        facts |= {"watch": self.watch.to_json(), "evaluates": evaluates}
        facts |= self.session.fingerprint.facts()

        content = checkpoint.Content(self.steps - 1, tensors, facts, self.session.settings.text)
        path = checkpoint.save(self.model_dir, content, self.world)
        self.world.first(lambda: checkpoint.prefer(self.model_dir, None))
        self._saved_at = self.steps
        self.progress.say(f"saved {path}")

    def _stop_on_signal(self) -> None:
        if self.interruption.signum() and self.steps > self._saved_at:
            self._save(evaluates=self.settings.saves_after_step(self.steps - 1))
        self.interruption.stop_if_asked()
