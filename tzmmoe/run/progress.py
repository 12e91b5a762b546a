"""How a training run reports its progress: log lines, a bar on a terminal, TensorBoard.

``Progress`` reports the losses, ``Speed`` the time per batch and, optionally, the losses and
metrics of the ``RunningEpoch``.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from tzmmoe.batch import Batch
from tzmmoe.learning.schedules import Rates
from tzmmoe.learning.step import Logits, Losses
from tzmmoe.system.world import World
from tzmmoe.tasks.taskset import TaskSet

log = logging.getLogger(__name__)

T = TypeVar("T")


class Clock:
    """Measures how much of the time is spent waiting for data."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.reset()
        self._started = self._begin

    def reset(self) -> None:
        self._begin = time.perf_counter()
        self.waited_s = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time that the block takes."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            paused_s = time.perf_counter() - begin
            self._begin += paused_s
            self._started += paused_s

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._begin

    def trained_s(self) -> float:
        """Since the start, regardless of resets."""
        return time.perf_counter() - self._started

    def waiting(self, items: Iterator[T]) -> Iterator[T]:
        """The items; the time that each takes to arrive counts as waiting."""
        while True:
            begin = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            self.waited_s += time.perf_counter() - begin
            yield item


class Progress:
    """Sums losses on their device and logs a line every ``every`` steps.

    ``total_steps`` returns the number of steps of the whole run, or None while it is unknown;
    ``epochs`` is the number of its epochs. The loss of several processes is their mean. ``hidden``:
    keys of losses that are always 0.
    """

    def __init__(
        self,
        *,
        every: int,
        total_steps: Callable[[], int | None],
        folder: Path | None,
        epochs: int | None = None,
        hidden: Container[str] = (),
        world: World | None = None,
    ) -> None:
        self.world = world or World()
        self.clock = Clock()
        self.every = every
        self.first_step = 0
        self._total_steps = total_steps
        self._folder, self._epochs, self._hidden = folder, epochs, hidden
        self._epoch = 0
        self._writer = None
        self._bar = tqdm(total=total_steps(), unit="step", disable=not shows_bars(), leave=False)
        self._sums: dict[str, Tensor] = {}
        self._steps = self._rows = 0
        self._step_s: float | None = None

    def note(
        self,
        step: int,
        losses: Mapping[str, Tensor],
        rows: int,
        rates: Rates | None,
        epoch: int = 0,
    ) -> None:
        """Take in one step of an epoch, counted from 0; ``step`` counts the steps done. Logs the
        line when it is due."""
        self._epoch = epoch
        for key, loss in losses.items():
            self._sums[key] = self._sums.get(key, 0.0) + loss.detach()
        self._steps += 1
        self._rows += rows
        self._bar.update(step - self._bar.n)
        if step % self.every == 0:
            self.flush(step, rates)

    def flush(self, step: int, rates: Rates | None = None) -> None:
        """Log the line of the steps since the last one."""
        if not self._steps:
            return
        means = means_of(self._sums, self._steps, self.world)
        seconds = max(self.clock.elapsed_s(), 1e-9)
        self._step_s = seconds / self._steps
        self._bar.total = total = self._total_steps()
        of_steps = f" of {total:,}" if total else ""
        of_epochs = f" of {self._epochs:,}" if self._epochs else ""
        parts = [f"step {step:,}{of_steps}", f"epoch {self._epoch + 1:,}{of_epochs}"]
        parts.append(f"loss {sum(means.values()):.4f}")
        parts += [f"{key} {mean:.4f}" for key, mean in means.items() if key not in self._hidden]
        parts.append(f"{short(self._rows / seconds)} rows/s")
        parts.append(f"waiting for data {self.clock.waited_s / seconds:.0%}")
        if total:
            parts.append(f"ETA {_duration((total - step) * self._step_s)}")
        self.say(" | ".join(parts))
        scalars = {f"loss/{key}": mean for key, mean in means.items()}
        scalars |= {"loss/total": sum(means.values()), "speed/rows_per_s": self._rows / seconds}
        scalars |= {"lr/g0": rates.tables, "lr/g1": rates.dense} if rates else {}
        self._show(step - 1, scalars)
        self._sums, self._steps, self._rows = {}, 0, 0
        self.clock.reset()

    def say(self, line: str, level: int = logging.INFO) -> None:
        """Log a line without tearing the bar."""
        self._bar.clear()
        log.log(level, "%s", line)
        self._bar.refresh()

    def evaluated(self, step: int, results: Mapping[str, float]) -> None:
        """Show an evaluation in TensorBoard."""
        self._show(step, {f"eval/{key}": value for key, value in results.items()})

    def _show(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write scalars to TensorBoard, whose file is created on first use."""
        if self._folder is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # What a killed run showed of steps that are now taken again is hidden.
            self._writer = SummaryWriter(str(self._folder), purge_step=self.first_step)
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
        self._writer.flush()

    def __enter__(self) -> "Progress":
        self.clock.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        if self._writer:
            self._writer.close()


def means_of(sums: Mapping[str, Tensor], count: int, world: World) -> dict[str, float]:
    """The means, over all processes, of sums over ``count`` addends in each process."""
    total = world.total(torch.stack(list(sums.values())))
    return dict(zip(sums, (total / (count * world.size)).tolist(), strict=True))


class RunningEpoch:
    """Losses and metrics over the training rows of the epoch so far, as Keras shows them.

    A batch counts with the weights before its own step, so the beginning of an epoch looks worse
    than its end. A loss is the mean of the batches' losses, weighted by their rows. All start anew
    with each epoch, and with a run resumed in the middle of one. Metrics that keep every row, such
    as an exact AUC, keep those of the epoch.
    """

    def __init__(self, tasks: TaskSet, device: torch.device, world: World) -> None:
        self.world = world
        # Separate from those of the session, which an evaluation resets.
        self.tasks = TaskSet([task.separate() for task in tasks.tasks])
        self.tasks.move(device)
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._rows = 0
        self._sums: dict[str, Tensor] = {}
        self.tasks.reset()

    @torch.no_grad()
    def add(
        self,
        epoch: int,
        logits: Mapping[str, Tensor],
        losses: Mapping[str, Tensor],
        batch: Batch,
        rows: int,
    ) -> None:
        """Take in a step; ``rows`` of all processes."""
        if epoch != self._epoch:
            self._begin(epoch)
        self._rows += rows
        for key, loss in losses.items():
            self._sums[key] = self._sums.get(key, 0.0) + loss.detach().double() * rows
        detached = {name: task_logits.detach() for name, task_logits in logits.items()}
        self.tasks.update(self.tasks.predict(detached), batch)

    def parts(self) -> list[str]:
        """``loss 0.41``, each loss, each metric."""
        means = means_of(self._sums, self._rows, self.world)
        values = {"loss": sum(means.values()), **means, **self.tasks.compute()}
        return [
            f"{key} undefined" if math.isnan(value) else f"{key} {value:.4f}"
            for key, value in values.items()
        ]


class Speed:
    """Logs the speed every ``every_batches`` batches of the run.

    Seconds include the wait for data, but not saving and evaluating. The average is over the
    batches since the run was started or resumed. ``epoch``, if given, adds the losses and metrics
    of the running epoch.
    """

    def __init__(
        self, *, every_batches: int, progress: Progress, epoch: RunningEpoch | None
    ) -> None:
        self.every_batches = every_batches
        self.epoch = epoch
        self._progress = progress
        self._total_batches = self._batches = self._rows = 0
        self._since_s = 0.0

    @classmethod
    def of(
        cls,
        fields: Mapping[str, Any] | None,
        progress: Progress,
        tasks: TaskSet,
        device: torch.device,
    ) -> "Speed | None":
        """From the fields of a train_speed_logger."""
        if fields is None:
            return None
        epoch = RunningEpoch(tasks, device, progress.world) if fields["with_metrics"] else None
        return cls(every_batches=fields["every_batches"], progress=progress, epoch=epoch)

    def learned(self, epoch: int, outcome: tuple[Logits, Losses], batch: Batch, rows: int) -> None:
        """Take in the outcome of a step in this epoch; ``rows`` of all processes."""
        if self.epoch:
            self.epoch.add(epoch, *outcome, batch, rows)

    def note(self, step: int, rows: int) -> None:
        """Take in one batch; ``step`` counts those of the run. Logs the line when it is due."""
        self._total_batches += 1
        self._batches += 1
        self._rows += rows
        if step % self.every_batches == 0:
            self._progress.say(self._line(step))

    def _line(self, step: int) -> str:
        """The line of the current window; a new window begins."""
        now_s = max(self._progress.clock.trained_s(), 1e-9)
        seconds = max(now_s - self._since_s, 1e-9)
        parts = [
            f"speed | batch {step:,}",
            f"{self._batches:,} batches in {seconds:.1f} s",
            f"{self._batches / seconds:,.1f} steps/s, "
            f"{self._total_batches / now_s:,.1f} on average",
            f"{short(self._rows / seconds)} rows/s",
            *(self.epoch.parts() if self.epoch else ()),
        ]
        self._batches = self._rows = 0
        self._since_s = now_s
        return " | ".join(parts)


def shows_bars() -> bool:
    """Whether this process shows progress bars: on a terminal, and only the one that logs."""
    return sys.stderr.isatty() and log.isEnabledFor(logging.INFO)


def short(number: float) -> str:
    """``85.1k`` for 85,100."""
    if number >= 1e6:
        return f"{number / 1e6:.2f}M"
    return f"{number / 1e3:.1f}k" if number >= 1e3 else f"{number:.0f}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(max(seconds, 0)), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
