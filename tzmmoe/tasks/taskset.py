"""All tasks of a model together: their columns, losses, outputs and metrics."""

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tzmmoe.batch import Batch, Column
from tzmmoe.errors import ConfigError, Faults, did_you_mean
from tzmmoe.system.world import World
from tzmmoe.tasks.comparisons import Comparisons
from tzmmoe.tasks.metrics import Metric
from tzmmoe.tasks.task import Task
from tzmmoe.tasks.weighting import Weighting

log = logging.getLogger(__name__)

FURTHER = "outputs/"  # begins the key of an output that is not a tower's logits
ERRORS = "errors"  # the key of a Scorer's messages, beside the outputs


class TaskSet:
    """All tasks of a model. The methods take the logits of its towers by name.

    ``weighting``: how their losses make up the total. None: by their fixed weights. ``further``:
    {output of the model that is not a task's: D}.
    """

    def __init__(self, tasks: Sequence[Task], weighting: Weighting | None = None) -> None:
        self.tasks = list(tasks)
        self.weighting = weighting or Weighting(fixed_weights(self.tasks))
        self.further: dict[str, int] = {}
        self.comparisons = Comparisons(self.tasks)
        self.is_silent = False  # whether ``compute`` logs no warnings
        self._remarked: set[str] = set()  # keys of the metrics whose remarks were logged

    def separate(self) -> "TaskSet":
        """The same tasks with metrics of their own, whose ``compute`` logs no warnings."""
        made = TaskSet([task.separate() for task in self.tasks], self.weighting)
        made.is_silent = True
        return made

    def columns(self, *, measured: bool = True) -> list[Column]:
        """The columns that the tasks read in addition to the features, each once; ``measured``:
        also those that only metrics read."""
        columns: dict[str, Column] = {}
        for column in (c for task in self.tasks for c in task.columns(measured=measured)):
            first = columns.setdefault(column.name, column)
            if first.role != column.role:
                words = f"{column.name!r} is used as {first.role} and as {column.role}"
                raise ConfigError.at("", f"{words}; use a different column for one of them")
            if first.texts and column.texts and first.texts != column.texts:
                words = f"{column.name!r} has different label_classes as {first.reader} and as"
                raise ConfigError.at("", f"{words} {column.reader}; list the same in both")
            columns[column.name] = first.meet(column)
        return list(columns.values())

    def check(self) -> None:
        """Raise ConfigError for each task that a loss names and cannot read."""
        by_name, faults = {task.name: task for task in self.tasks}, Faults()
        for task in self.tasks:
            names = [name for name in by_name if name != task.name]
            one_of = f"; give one of {', '.join(names)}" if names else "; remove it"
            for word, loss in task.losses.items():
                for name in dict.fromkeys(loss.others):
                    reads, other = f"{word} of {task.name!r} reads {name!r}", by_name.get(name)
                    if other is None:
                        hint = did_you_mean(name, names) or one_of
                        faults.add("", f"{reads}, which is not a task{hint}")
                    elif other is task:
                        faults.add("", f"{reads}, which is the task itself{one_of}")
                    elif loss.needs_one_logit and other.num_class > 1:
                        many = f"which has {other.num_class} logits instead of 1"
                        faults.add("", f"{reads}, {many}; name another task")
        faults.stop()

    def served(self, *, auxiliary: bool = False) -> "TaskSet":
        """The tasks that have outputs in exports and predictions; ``auxiliary``: all of them."""
        if auxiliary or not any(task.auxiliary for task in self.tasks):
            return self
        return self.part([task.name for task in self.tasks if not task.auxiliary], further=True)

    def part(self, names: Collection[str], *, further: bool) -> "TaskSet":
        """The tasks of these names; ``further``: with the outputs that belong to no task."""
        part = TaskSet([task for task in self.tasks if task.name in names], self.weighting)
        part.further = self.further if further else {}
        return part

    def best_keys(self) -> dict[str, str]:
        """{task: the key by which its checkpoints are compared}: the first metric of which larger
        or smaller is better, else the first loss, else ``val_loss``."""
        natures, keys = self.larger_is_better(), {}
        for task in self.tasks:
            own = [*task.named_metrics(), *(f"{word}_{task.name}" for word in task.losses)]
            keys[task.name] = next((k for k in own if natures[k] is not None), "val_loss")
        return keys

    def towers(self) -> set[str] | None:
        """The towers whose logits the tasks read; None: perhaps all."""
        reads = [task.relation.reads(task.name) for task in self.tasks]
        return None if None in reads else {name for names in reads for name in names}

    def output_names(self) -> list[str]:
        """What ``predict`` gives, in order."""
        names = [f"{kind}_{task.name}" for task in self.tasks for kind in task.outputs()]
        return [*names, *self.further]

    def learned(self) -> list[Task]:
        """The tasks with losses of their own."""
        return [task for task in self.tasks if task.losses]

    def averaged(self, towers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of the towers, with ``Task.averaged`` of those that have members."""
        own = {task.name: task for task in self.tasks if task.name in towers}
        return {**towers, **{name: task.averaged(towers[name]) for name, task in own.items()}}

    def logits(self, towers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits by task, from those of the towers."""
        return {task.name: task.relation.logits(task.name, towers) for task in self.tasks}

    def divisors(self, batch: Batch) -> Tensor:
        """What each loss is divided by (L,), float64, in the order of ``loss_keys``; NaN where that
        depends on the logits."""
        absent = torch.full((), math.nan, dtype=torch.float64)
        divisors = [own for task in self.tasks for own in task.divisors(batch).values()]
        # ``absent`` itself goes first, as no tensors at all cannot be stacked.
        return torch.stack([absent, *(absent if own is None else own for own in divisors)])[1:]

    def losses(
        self, logits: Mapping[str, Tensor], batch: Batch, totals: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"binary_cross_entropy_ctr": weight * sum(w l) / sum(w)}``; the objective is their sum.

        A batch in which nothing counts for a loss has loss 0. ``totals`` (L,) replace the
        ``divisors`` where the batch is a part of a larger one; NaN: the batch's own counts.
        """
        losses = {}
        for index, (task, word, part, total) in enumerate(self.loss_sums(logits, batch)):
            if totals is not None:
                total = torch.where(totals[index].isnan(), total, totals[index])
            mean = part / torch.where(total > 0, total, 1.0)
            key = f"{word}_{task.name}"
            losses[key] = self.weighting.weighted(key, mean.float(), total > 0)
        return losses

    def loss_sums(
        self, logits: Mapping[str, Tensor], batch: Batch
    ) -> Iterator[tuple[Task, str, Tensor, Tensor]]:
        """For each task and word of a loss: sum(w l) and sum(w), or what ``Loss.sums`` returns; of
        members, the mean."""
        of_tasks = self.logits(logits)
        for task in self.tasks:
            for word, sums in task.loss_sums(of_tasks, batch).items():
                yield task, word, *sums

    def predict(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All named outputs; of members, those of their average."""
        of_tasks = self.logits(self.averaged(logits))
        outputs = {}
        for task in self.tasks:
            outputs |= task.predict(of_tasks[task.name])
        return outputs | {name: logits[f"{FURTHER}{name}"] for name in self.further}

    def add_outputs(self, further: Mapping[str, int]) -> None:
        """Add outputs of the model. Raises ConfigError for names that something beside them has."""
        taken = {task.label: f"the label of {task.in_messages}" for task in self.tasks}
        for task in self.tasks:
            names = (f"{kind}_{task.name}" for kind in task.outputs())
            taken |= dict.fromkeys(names, f"an output of {task.in_messages}")
        taken[ERRORS] = "what a Scorer calls its messages about bad rows"
        faults = Faults()
        for place, name in enumerate(further):
            if name in taken:
                faults.add(f"outputs[{place}]", f"{name!r} is {taken[name]}; rename the block")
        faults.stop()
        self.further = dict(further)

    def update(self, outputs: Mapping[str, Tensor], batch: Batch) -> None:
        """Take a batch into the metrics; rows without label are left out."""
        for task in self.tasks:
            task.update(outputs, batch)

    def compute(self) -> dict[str, float]:
        """``{"auc_ctr": 0.71, "auc_ctr_in_space": ...}``; NaN where a metric is undefined."""
        results = {}
        for task in self.tasks:
            for key, metric in task.named_metrics().items():
                with metric.sync_context():  # over the rows of all processes
                    num_nan = int(metric.nan_predictions)
                    results[key] = math.nan if num_nan else task.value(metric)
                    known = self.is_silent or key in self._remarked
                    remark = None if known else metric.remark()
                if remark:
                    self._remarked.add(key)
                    log.warning("%s: %s", key, remark)
                if num_nan and not self.is_silent:
                    log.warning("%s is undefined: %s predictions are NaN", key, f"{num_nan:,}")
        return results

    def move(self, device: torch.device) -> None:
        """Keep all metrics on a device."""
        for metric in (*self.named_metrics().values(), *(task.baseline for task in self.tasks)):
            metric.to(device)

    def named_metrics(self) -> dict[str, Metric]:
        return {k: metric for task in self.tasks for k, metric in task.named_metrics().items()}

    def loss_keys(self) -> list[str]:
        return [f"{word}_{task.name}" for task in self.tasks for word in task.losses]

    def unlearned_keys(self) -> set[str]:
        """Of losses whose weight is 0."""
        return {key for key in self.loss_keys() if self.weighting.is_idle(key)}

    def idle_comparisons(self, place: str, where: str, world: World) -> list[str]:
        """``Comparisons.lines``, without the losses whose weight is 0."""
        return self.comparisons.lines(place, where, world, self.unlearned_keys())

    def release(self) -> None:
        """Forget the rows, of which some metrics keep every one; baselines stay."""
        for metric in self.named_metrics().values():
            metric.reset()

    def reset(self) -> None:
        for metric in (*self.named_metrics().values(), *(task.baseline for task in self.tasks)):
            metric.reset()

    def larger_is_better(self) -> dict[str, bool | None]:
        """By key of an evaluation, whether larger is better; None: neither."""
        metrics = {key: metric.larger_is_better for key, metric in self.named_metrics().items()}
        return {**metrics, **dict.fromkeys(self.loss_keys(), False), "val_loss": False}


def fixed_weights(tasks: Sequence[Task]) -> dict[str, float]:
    """The weight of each loss in the total, by its key."""
    return {f"{word}_{t.name}": t.loss_weight(word) for t in tasks for word in t.losses}
