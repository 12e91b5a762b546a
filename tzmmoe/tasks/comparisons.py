"""Warnings about losses that compare rows with each other, but found none to compare."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from tzmmoe.system.world import World
from tzmmoe.tasks.losses import Loss
from tzmmoe.tasks.task import Task


class Comparisons:
    """Warns once in training, and once in evaluation, of each loss that compared no rows there."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._comparing = {
            f"{word}_{task.name}": (task, word, loss)
            for task in tasks
            for word, loss in task.losses.items()
            if loss.compared_rows()
        }
        self._settled: set[tuple[str, str]] = set()  # (place, key): warned, or did compare rows

    @contextmanager
    def counted_apart(self) -> Iterator[None]:
        """Count batches from 0 in the block; after it, go on from the tallies before it."""
        tallies = [(loss, loss.tally) for _, _, loss in self._comparing.values()]
        for loss, _ in tallies:
            loss.tally = (0, 0)
        try:
            yield
        finally:
            for loss, tally in tallies:
                loss.tally = tally

    def lines(self, place: str, where: str, world: World, idle: set[str]) -> list[str]:
        """A line for each loss that compared no rows in any process since the last call. All
        processes must call it.

        ``place``: ``training`` or ``evaluation``. ``where``: which batches, such as ``epoch 1``.
        ``idle``: keys of losses to leave out, whose weight is 0.
        """
        if not self._comparing:
            return []
        tallies = [torch.as_tensor(loss.tally).cpu() for _, _, loss in self._comparing.values()]
        totals = world.total(torch.stack([tally.to(torch.int64) for tally in tallies])).tolist()
        lines = []
        for key, (batches, count) in zip(self._comparing, totals, strict=True):
            task, word, loss = self._comparing[key]
            loss.tally = (0, 0)
            if not batches or key in idle or (place, key) in self._settled:
                continue
            self._settled.add((place, key))
            if not count:
                lines.append(_line(task, word, loss, f"{batches:,} batches of {where}"))
        return lines


def _line(task: Task, word: str, loss: Loss, batches: str) -> str:
    checks = [f"the label {task.label!r}"]
    if loss.columns:
        checks.append(f"{loss.column_field} ({', '.join(loss.columns)!r})")
    if task.sample_weight or task.space:
        checks.append("the weights of the rows")
    together = " and keep the rows of a session together in the files" if loss.columns else ""
    return (
        f"{task.in_messages}: {word} found nothing to compare in the {batches}: it needs "
        f"{loss.compared_rows()} in one batch; check {', '.join(checks)}; raise "
        f"data_config.batch_size{together}"
    )
