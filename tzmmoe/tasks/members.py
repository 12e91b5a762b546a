"""What each member of a model would reach alone, beside their average."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.tasks.taskset import TaskSet

OF_MEMBERS = "_members"  # ends the key of a mean over the members


class MemberMetrics:
    """The metrics of each of k members; empty for a single network."""

    def __init__(self, tasks: TaskSet, members: int, device: torch.device) -> None:
        self._each = [tasks.separate() for _ in range(members if members > 1 else 0)]
        for own in self._each:
            own.reset()
            own.move(device)

    def update(self, logits: Mapping[str, Tensor], batch: Batch) -> None:
        """Take in a batch. logits: (B, k) or (B, k, C) of each tower."""
        for member, tasks in enumerate(self._each):
            own = {name: part[:, member] for name, part in logits.items()}
            tasks.update(tasks.predict(own), batch)

    def compute(self) -> dict[str, float]:
        """``{"auc_ctr_members": 0.7, ...}``: the mean over the members."""
        each = [tasks.compute() for tasks in self._each]
        keys = each[0] if each else ()
        return {f"{key}{OF_MEMBERS}": sum(own[key] for own in each) / len(each) for key in keys}


def named_sums(
    tasks: TaskSet, logits: Mapping[str, Tensor], batch: Batch, *, members: int
) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """``("binary_cross_entropy_ctr", ""), [sum(w l), sum(w)]`` for each loss of the average, in
    float64; with ``members`` above 1, also the mean of their losses, with the suffix OF_MEMBERS."""
    for task, word, *sums in tasks.loss_sums(tasks.averaged(logits), batch):
        yield (f"{word}_{task.name}", ""), torch.stack(sums).double()
    if members > 1:
        with tasks.comparisons.counted_apart():  # the batch was counted above
            for task, word, *sums in tasks.loss_sums(logits, batch):
                yield (f"{word}_{task.name}", OF_MEMBERS), torch.stack(sums).double()
