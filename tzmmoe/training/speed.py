"""How fast training goes, and how well so far, every so many batches."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.tasks import TaskSet
from tzmmoe.training.progress import Progress, means_of, short
from tzmmoe.world import World


class EpochSoFar:
    """Losses and metrics over the training rows of an epoch, as Keras shows them.

    A batch counts with the weights that it was learned with, so that the beginning of an epoch is
    behind its end. A loss is the mean of the batches' losses, weighted by their rows. All begin
    anew with each epoch, and with a run that goes on in the middle of one. Metrics that keep every
    row, such as an exact AUC, keep those of the epoch.
    """

    def __init__(self, tasks: TaskSet, device: torch.device, world: World) -> None:
        self.world = world
        own = [
            replace(
                task,
                metrics=copy.deepcopy(task.metrics),
                space_metrics=copy.deepcopy(task.space_metrics),
            )
            for task in tasks.tasks
        ]
        self.tasks = TaskSet(own)  # the evaluation resets those of the model
        for metric in self.tasks.named_metrics().values():
            metric.to(device)
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
        """Take in a batch that is being learned; ``rows`` of all processes."""
        if epoch != self._epoch:
            self._begin(epoch)
        self._rows += rows
        for key, loss in losses.items():
            part = loss.detach().double() * rows
            self._sums[key] = self._sums[key] + part if key in self._sums else part
        detached = {name: each.detach() for name, each in logits.items()}
        self.tasks.update(self.tasks.predict(detached), batch)

    def parts(self) -> list[str]:
        """``loss 0.41``, each loss, each metric."""
        means = means_of(self._sums, self._rows, self.world)
        shown = {"loss": sum(means.values()), **means, **self.tasks.compute()}
        return [f"{key} {_number(value)}" for key, value in shown.items()]


class Speed:
    """A line every ``every_batches`` batches of the run.

    Seconds are those of training and of its waiting for data; saving and evaluating do not count.
    The average is over the batches since this start of the run. ``so_far``, if wanted, adds the
    losses and metrics of the epoch.
    """

    def __init__(
        self, *, every_batches: int, progress: Progress, so_far: EpochSoFar | None
    ) -> None:
        self.every_batches = every_batches
        self.so_far = so_far
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
        so_far = EpochSoFar(tasks, device, progress.world) if fields["with_metrics"] else None
        return cls(every_batches=fields["every_batches"], progress=progress, so_far=so_far)

    def note(self, step: int, rows: int) -> None:
        """Take in one batch; ``step`` counts those of the run. Writes the line when it is due."""
        self._total_batches += 1
        self._batches += 1
        self._rows += rows
        if step % self.every_batches == 0:
            self._progress.say(self._line(step))

    def _line(self, step: int) -> str:
        """Of the window that ends now; the next one begins."""
        now_s = max(self._progress.clock.trained_s(), 1e-9)
        seconds = max(now_s - self._since_s, 1e-9)
        parts = [
            f"speed | batch {step:,}",
            f"{self._batches:,} batches in {seconds:.1f} s",
            f"{self._batches / seconds:,.1f} steps/s, "
            f"{self._total_batches / now_s:,.1f} on average",
            f"{short(self._rows / seconds)} rows/s",
            *(self.so_far.parts() if self.so_far else ()),
        ]
        self._batches = self._rows = 0
        self._since_s = now_s
        return " | ".join(parts)


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"
