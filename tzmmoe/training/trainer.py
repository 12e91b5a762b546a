"""The training loop."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tzmmoe import checkpoint
from tzmmoe.batch import Batch, Position
from tzmmoe.data.loader import Loader
from tzmmoe.errors import DataError, Interrupted, NotFiniteError
from tzmmoe.models import RankModel
from tzmmoe.nn.regularizers import penalized, regularization
from tzmmoe.tasks import TaskSet
from tzmmoe.training import state
from tzmmoe.training.optimization import Optimization
from tzmmoe.training.profile import Profile
from tzmmoe.training.progress import Progress
from tzmmoe.training.speed import Speed
from tzmmoe.training.stopping import Watch
from tzmmoe.training.timeout import Timeout

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Trainer:
    """Trains a model from a position to the end of its schedule.

    ``evaluate`` gives the results of a step by key; None when there is nothing to evaluate on.
    ``watch`` follows the results, and ends the run early; so does ``timeout``, after a step at the
    least. ``steps`` counts the steps done; a checkpoint is named by the last of them, counted from
    0. ``meaning`` goes into each checkpoint.
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
        self.device = self.optimization.device
        self._saved_at = self._reviewed_at = self.steps
        self._done = self._said_quality = self._reviewing = False
        self._signal = 0
        self._loss_keys = self.tasks.loss_keys()
        self._penalized = penalized(self.model)
        if self._penalized:
            self._loss_keys.append("regularization")
        self._bad_step = torch.full(
            (len(self._loss_keys),), -1, dtype=torch.int64, device=self.device
        )

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
        with self._signals(), self.progress, self.profile:
            try:
                while not self.ends():
                    self._train_epoch()
            except DataError as error:
                if self.steps == 0:
                    raise
                if self.steps > self._saved_at:
                    self._save(evaluates=False)
                raise DataError(
                    f"{error}\nthe steps before are in model.ckpt-{self.steps - 1}; with the data "
                    "mended, --continue_train goes on from there"
                ) from error
            self._say_quality()
            if self.steps > self._reviewed_at:
                self._save_and_evaluate()

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Learn from one batch; its losses."""
        with self.optimization.autocast():
            logits = self.model(batch.inputs)
        losses = self.tasks.losses(logits, batch)
        penalty = regularization(self._penalized)
        if penalty is not None:
            losses["regularization"] = penalty
        if self.speed and self.speed.so_far:
            self.speed.so_far.add(self.position.epoch, logits, losses, batch)
        self.optimization.step(losses, self.steps, self.position.epoch)
        return losses

    def _train_epoch(self) -> None:
        """The rest of the epoch at the position, or of the run."""
        epoch, first_step = self.position.epoch, self.steps
        started_whole = self.position.row == 0
        with closing(self.loader.epoch(self.position)) as batches:
            for batch, position in self.progress.clock.waiting(batches):
                with self.profile.batch(self.steps + 1):
                    losses = self.step(batch.to(self.device))
                self.position = position
                self.steps += 1
                self._check_finite(losses)
                rates = self.optimization.rates(self.steps - 1, epoch)
                self.progress.note(self.steps, losses, len(batch), rates)
                if self.speed:
                    self.speed.note(self.steps, len(batch))
                self._stop_on_signal()
                self._look_at_time()
                if self._saves_after_step():
                    self._save_and_evaluate()
                if self.ends():
                    return
        if started_whole and self.steps == first_step:
            raise self.loader.lack()
        self._end_epoch(epoch)

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
        quality = self.loader.quality
        if quality.num_rows and not self._said_quality:
            self.progress.say(quality.report())
            self._said_quality = True

    def ends(self) -> bool:
        """Whether the last step of the run is done."""
        reached = self.settings.num_steps and self.steps >= self.settings.num_steps
        return self._done or self.watch.stopped or self.timeout.passed or bool(reached)

    def _look_at_time(self) -> None:
        """After a step or an evaluation; a run that ends needs no look."""
        if not self.ends() and self.timeout.look():
            self.progress.flush(self.steps, {})
            self.progress.say(self.timeout.line(self.steps))

    def _saves_after_step(self) -> bool:
        last, every = self.steps - 1, self.settings.save_steps
        return bool(every) and last > 0 and last % every == 0

    def _check_finite(self, losses: Mapping[str, Tensor]) -> None:
        """Remember the first step at which each loss was not finite; look at it now and then.

        Looking waits for the device, so on a GPU it happens only where a line is due.
        """
        values = torch.stack([loss.detach() for loss in losses.values()])
        new = ~values.isfinite() & (self._bad_step < 0)
        self._bad_step = torch.where(new, self.steps - 1, self._bad_step)
        if self.device.type == "cpu" or self.steps % self.settings.log_every == 0:
            self._refuse_bad_steps()

    def _refuse_bad_steps(self) -> None:
        bad = {
            key: step
            for key, step in zip(self._loss_keys, self._bad_step.tolist(), strict=True)
            if step >= 0
        }
        if bad:
            key, step = min(bad.items(), key=lambda item: item[1])
            raise self._not_finite(f"{key} is NaN or infinite at step {step}")

    def _refuse_bad_weights(self, weights: Mapping[str, Tensor]) -> None:
        """The loss of a step does not show what the step itself did to the weights."""
        for name, weight in weights.items():
            if not (weight.is_floating_point() and weight.numel()):
                continue
            if not torch.stack(torch.aminmax(weight)).isfinite().all():
                raise self._not_finite(f"{name} is NaN or infinite after step {self.steps - 1}")

    def _not_finite(self, what: str) -> NotFiniteError:
        found = checkpoint.find(self.model_dir)
        last = f"the last checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        return NotFiniteError(
            f"{what}; {last}. Lower the learning rate, set grad_clipping, or look for extreme "
            "values in the features"
        )

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
        checkpoint.prune(self.model_dir, self.settings.keep, self.watch.kept_steps())

    def _save(self, *, evaluates: bool) -> None:
        self._refuse_bad_steps()
        weights = state.weights(self.model)
        self._refuse_bad_weights(weights)
        tensors = {
            **weights,
            **state.optimizer_state(self.optimization),
            **state.random_state(self.device),
        }
        facts = state.progress(self.optimization, self.position, self.loader.order, self.steps)
        facts |= {"watch": self.watch.to_json(), "evaluates": evaluates}
        facts["meaning"] = self.meaning
        path = checkpoint.save(self.model_dir, self.steps - 1, tensors, facts, self.config)
        checkpoint.prefer(self.model_dir, None)
        self._saved_at = self.steps
        self.progress.say(f"saved {path}")

    def stop_if_asked(self) -> None:
        """For an evaluation, between its batches: raise Interrupted when a signal came."""
        if self._signal:
            raise Interrupted(self._signal)

    def _stop_on_signal(self) -> None:
        if self._signal and self.steps > self._saved_at:
            self._save(evaluates=self._saves_after_step())
        self.stop_if_asked()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks the loop to stop; a second one ends the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.getsignal(each) for each in SIGNALS}

        def ask(signum: int, frame: object) -> None:
            self._signal = signum
            signal.signal(signum, before[signum])
            if self._reviewing:
                log.warning("stopping; the checkpoint is saved, and its evaluation will be made up")
            else:
                log.warning("stopping after this step, with a checkpoint; again to stop at once")

        for each in SIGNALS:
            signal.signal(each, ask)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
