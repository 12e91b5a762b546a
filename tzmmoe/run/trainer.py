"""The training loop."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tzmmoe.batch import Batch, Position
from tzmmoe.data.loader import Loader
from tzmmoe.data.quality import Quality
from tzmmoe.errors import DataError, Interrupted
from tzmmoe.learning.lockstep import Together
from tzmmoe.learning.step import Optimization
from tzmmoe.models import RankModel
from tzmmoe.run import state
from tzmmoe.run.ends import Finite, Signals, Timeout, Watch
from tzmmoe.run.profile import Profile
from tzmmoe.run.progress import Progress, Speed
from tzmmoe.system import checkpoint
from tzmmoe.tables.penalties import penalized, regularization
from tzmmoe.tasks.task_set import TaskSet

Read = tuple[Batch, Position]


class Share(NamedTuple):
    """Of what a batch is a part: rows of all processes' batches, and each task's sum of weights in
    them over their number (T,), so that the mean of their losses is that of the global batch. None:
    each loss is a mean over its own batch."""

    rows: int
    totals: Tensor | None


@dataclass
class Trainer:
    """Trains a model from a position to the end of its schedule.

    ``evaluate`` gives the results of a step by key; None when there is nothing to evaluate on.
    ``watch`` follows the results, and ends the run early; so does ``timeout``, after a step at the
    least. ``steps`` counts the steps done; a checkpoint is named by the last of them, counted from
    0. ``meaning`` goes into each checkpoint. In several processes all do so together.
    """

    model: RankModel
    tasks: TaskSet
    loader: Loader
    optimization: Optimization
    progress: Progress
    watch: Watch
    model_dir: Path
    config: str
    meaning: Mapping[str, Any]
    evaluate: Callable[[int], Mapping[str, float]] | None
    position: Position = field(default_factory=Position)
    steps: int = 0
    timeout: Timeout = field(default_factory=Timeout)
    speed: Speed | None = None
    profile: Profile = field(default_factory=Profile)

    def __post_init__(self) -> None:
        self.settings = self.optimization.settings
        self.device, self.world = self.optimization.device, self.optimization.world
        self.signals = Signals(self._answer)
        wishes = {
            "interrupt": lambda: self.signals.came == signal.SIGINT,
            "terminate": lambda: self.signals.came == signal.SIGTERM,
            "timeout": lambda: self.world.is_first and self.timeout.is_over(),
        }
        self.together = Together(self.world, wishes)
        self._saved_at = self._reviewed_at = self.steps
        self._done = self._said_quality = self._reviewing = False
        self._penalized = penalized(self.model)
        keys = [*self.tasks.loss_keys(), *(["regularization"] if self._penalized else [])]
        self._finite = Finite(keys, self.device, self.model_dir, self.together.refuse)

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
        with self.signals.caught(), self.progress, self.profile:
            try:
                while not self.ends():
                    self._train_epoch()
            except DataError as error:
                if self.steps == 0 or (self.world.size > 1 and not error.is_shared):
                    raise
                if self.steps > self._saved_at:
                    self._save(evaluates=False)
                told = DataError(
                    f"{error}\nthe steps before are in model.ckpt-{self.steps - 1}; with the data "
                    "mended, --continue_train goes on from there"
                )
                told.is_shared = error.is_shared
                raise told from error
            self._say_quality()
            if self.steps > self._reviewed_at:
                self._save_and_evaluate()

    def step(self, batch: Batch, share: Share | None = None) -> dict[str, Tensor]:
        """Learn from one batch, or from the share of a global one; its losses."""
        share = share or Share(len(batch), None)
        self.optimization.begin(self.steps, self.position.epoch)
        with self.optimization.autocast():
            logits = self.optimization.forward(batch.inputs)
        losses = self.tasks.losses(logits, batch, share.totals)
        penalty = regularization(self._penalized)
        if penalty is not None:
            losses["regularization"] = penalty
        if self.speed and self.speed.so_far:
            self.speed.so_far.add(self.position.epoch, logits, losses, batch, share.rows)
        self.optimization.step(losses, self.steps, self.position.epoch)
        return losses

    def _train_epoch(self) -> None:
        """The rest of the epoch at the position, or of the run."""
        epoch, first_step = self.position.epoch, self.steps
        started_whole = not self.world.total(torch.tensor(self.position.row))
        with closing(self.loader.epoch(self.position)) as batches:
            for (batch, position), share in self.progress.clock.waiting(self._steps(batches)):
                taking = self.world.named(f"taking step {self.steps}")
                with self.profile.batch(self.steps + 1), taking:
                    losses = self.step(batch.to(self.device), share)
                self.position = position
                self.steps += 1
                self._finite.note(self.steps - 1, losses)
                # Looking waits for the device, so on a GPU it happens only where a line is due.
                if self.device.type == "cpu" or self.steps % self.settings.log_every == 0:
                    self._finite.check_losses()
                rates = self.optimization.rates(self.steps - 1, epoch)
                self.progress.note(self.steps, losses, share.rows, rates)
                if self.speed:
                    self.speed.note(self.steps, share.rows)
                self._stop_on_signal()
                self._look_at_time()
                if self._saves_after_step():
                    self._save_and_evaluate()
                if self.ends():
                    return
        if started_whole and self.steps == first_step:
            raise self.loader.lack()
        self._end_epoch(epoch)

    def _steps(self, batches: Iterator[Read]) -> Iterator[tuple[Read, Share]]:
        """The batches with their positions, each with what it is a share of."""
        is_global = self.settings.loss_mean == "GLOBAL_BATCH"

        def weigh(read: Read) -> Tensor:
            rows = torch.tensor([float(len(read[0]))], dtype=torch.float64)
            return torch.cat([rows, self.tasks.weight_sums(read[0])]) if is_global else rows

        def idle() -> Read:
            return self.loader.no_rows(), self.position

        if self.world.size == 1:
            yield from ((read, Share(len(read[0]), None)) for read in batches)
            return
        for read, total in self.together.steps(batches, idle, weigh):
            totals = (total[1:] / self.world.size).to(self.device) if is_global else None
            yield read, Share(int(total[0]), totals)

    def _end_epoch(self, epoch: int) -> None:
        self._say_quality()
        if epoch == 0 and (shortfall := self.loader.shortfall(self.position)):
            self.progress.say(shortfall)
        num_epochs = self.settings.num_epochs
        self._done = bool(num_epochs) and epoch + 1 >= num_epochs
        every = self.settings.save_epochs
        if every and (epoch + 1) % every == 0 and self.steps > self._reviewed_at:
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
        return self._done or self.watch.stopped or self.timeout.passed or bool(reached)

    def _look_at_time(self) -> None:
        """After a step or an evaluation; a run that ends needs no look."""
        if not self.ends() and self.together.wants("timeout"):
            self.timeout.passed = True
            self.progress.flush(self.steps, {})
            self.progress.say(self.timeout.line(self.steps))

    def _saves_after_step(self) -> bool:
        last, every = self.steps - 1, self.settings.save_steps
        return bool(every) and last > 0 and last % every == 0

    def _save_and_evaluate(self) -> None:
        if self.ends():
            self.progress.flush(self.steps, {})
        # Where only the time ran out, the results are for the reader: a run without that end would
        # not have them, and early stopping must not count them.
        counts = not self.timeout.passed or self._saves_after_step()
        with self.progress.clock.paused(), self.profile.paused():
            if self.steps > self._saved_at:
                self._save(evaluates=counts)
            self.review(counts=counts)
        self.stop_if_asked()
        self._look_at_time()

    def review(self, known: Mapping[str, float] | None = None, *, counts: bool = True) -> None:
        """Act on the results of the last step's checkpoint: those ``known``, or evaluate it."""
        if self.evaluate and known is None:
            self._reviewing = True
            known = self.evaluate(self.steps - 1)
            self._reviewing = False
            self.model.train()
            self.progress.evaluated(self.steps - 1, known)
        if known is not None and counts:
            self.watch.note(self.steps - 1, known)
        self._reviewed_at = self.steps
        if self.world.is_first:
            checkpoint.prune(self.model_dir, self.settings.keep, self.watch.kept_steps())

    def _save(self, *, evaluates: bool) -> None:
        self._finite.check_losses()
        if self.optimization.replicas:
            self.optimization.replicas.align()
        weights = state.weights(self.model)
        self._finite.check_weights(self.steps - 1, weights)
        self.together.check()
        stands = self.world.gather(state.stand(self.loader.order, self.position))
        randoms = self.world.gather(state.random_state(self.device))
        tensors = weights | state.optimizer_state(self.optimization) | state.by_rank(randoms)
        facts = state.progress(self.optimization, stands, self.steps)
        facts |= {"watch": self.watch.to_json(), "evaluates": evaluates}
        facts["meaning"] = self.meaning

        content = checkpoint.Content(self.steps - 1, tensors, facts, self.config)
        path = checkpoint.save(self.model_dir, content, self.world)
        self.world.first(lambda: checkpoint.prefer(self.model_dir, None))
        self._saved_at = self.steps
        self.progress.say(f"saved {path}")

    def stop_if_asked(self) -> None:
        """For an evaluation, between its batches: raise Interrupted when a signal came."""
        if self._asked():
            raise Interrupted(self._asked())

    def _asked(self) -> int:
        """The signal that asked to stop, or 0."""
        if self.together.wants("terminate"):
            return signal.SIGTERM
        return signal.SIGINT if self.together.wants("interrupt") else 0

    def _answer(self) -> str:
        if self._reviewing:
            return "stopping; the checkpoint is saved, --continue_train goes on with its evaluation"
        return "stopping after this step, with a checkpoint; again to stop at once"

    def _stop_on_signal(self) -> None:
        if self._asked() and self.steps > self._saved_at:
            self._save(evaluates=self._saves_after_step())
        self.stop_if_asked()
