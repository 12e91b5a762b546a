"""Losses that compare rows with each other, and what they found to compare."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from tzmmoe.system.world import World
from tzmmoe.tasks.losses import Loss
from tzmmoe.tasks.task import Task


class Comparisons:
    """Tells, once for each place, of losses that had nothing to compare there.

    A place is ``training`` or ``evaluation``, whose batches are counted apart.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._compared = {
            f"{word}_{task.name}": (task, word, loss)
            for task in tasks
            for word, loss in task.losses.items()
            if loss.compared_rows()
        }
        self._settled: set[tuple[str, str]] = set()  # (place, key): told, or it did compare rows

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within the block, batches are counted from 0; afterwards the counts before it go on."""
        counts = [(loss, loss.tally) for _, _, loss in self._compared.values()]
        for loss, _ in counts:
            loss.tally = (0, 0)
        try:
            yield
        finally:
            for loss, tally in counts:
                loss.tally = tally

    def lines(self, place: str, where: str, world: World, idle: set[str]) -> list[str]:
        """A line for each loss that compared no rows since the last call, in any process.

        ``where`` continues "in all 13 batches"; ``idle``: the keys of losses without weight."""
        if not self._compared:
            return []
        tallies = [torch.as_tensor(loss.tally).cpu() for _, _, loss in self._compared.values()]
        totals = world.total(torch.stack([tally.to(torch.int64) for tally in tallies])).tolist()
        lines = []
        for (key, owned), (batches, count) in zip(self._compared.items(), totals, strict=True):
            owned[2].tally = (0, 0)
            if not batches or key in idle or (place, key) in self._settled:
                continue
            self._settled.add((place, key))
            if not count:
                lines.append(_line(*owned, f"all {batches:,} batches of {where}"))
        return lines


def _line(task: Task, word: str, loss: Loss, where: str) -> str:
    checks = [f"the label {task.label!r}"]
    if loss.columns:
        checks.append(f"{loss.column_field}, which is {', '.join(loss.columns)!r}")
    if task.sample_weight or task.space:
        checks.append("the weights of the rows")
    together = " and keep the rows of a session together in the files" if loss.columns else ""
    return (
        f"{task.in_messages}: {word} had nothing to compare in {where}: it needs "
        f"{loss.compared_rows()} in one batch; check {', '.join(checks)}; raise "
        f"data_config.batch_size{together}"
    )
