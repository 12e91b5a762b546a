"""All tasks of a model: logits and a batch in, losses, predictions and metrics out."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tzmmoe.batch import Batch, Column
from tzmmoe.errors import ConfigError, did_you_mean
from tzmmoe.tasks.metrics import Metric
from tzmmoe.tasks.task import Task

log = logging.getLogger(__name__)


class TaskSet:
    """All tasks of a model. Their methods take the logits of its towers by name."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = list(tasks)

    def columns(self) -> list[Column]:
        """What the tasks read beside the features, each column once."""
        found: dict[str, Column] = {}
        for column in (column for task in self.tasks for column in task.columns()):
            if column.name not in found:
                found[column.name] = column
            elif found[column.name].role == column.role:
                found[column.name] = found[column.name].meet(column)
            else:
                roles = f"{found[column.name].role} and as {column.role}"
                raise ConfigError.at("", f"{column.name!r} is used as {roles}")
        return list(found.values())

    def check(self) -> None:
        """Raise ConfigError for a loss that sees a task which is not there."""
        names = [task.name for task in self.tasks]
        for task in self.tasks:
            for word, loss in task.losses.items():
                for name in set(loss.others) - set(names):
                    words = f"{word} of {task.name!r} reads {name!r}, which is no tower"
                    raise ConfigError.at("", words + did_you_mean(name, names))

    def learned(self) -> list[Task]:
        """Those with losses of their own."""
        return [task for task in self.tasks if task.losses]

    def logits(self, towers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By task, from those of the towers."""
        return {task.name: task.relation.logits(task.name, towers) for task in self.tasks}

    def weight_sums(self, batch: Batch) -> Tensor:
        """sum(w) of each task over the rows of a batch (T,), float64."""
        return torch.stack([task.weights(batch)[1].double().sum() for task in self.tasks])

    def losses(
        self, logits: Mapping[str, Tensor], batch: Batch, totals: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"binary_cross_entropy_ctr": weight * sum(w l) / sum(w)}``; the objective is their sum.

        A batch in which nothing counts for a task has loss 0. ``totals`` (T,): in place of the
        tasks' sum(w), as where a batch is a part of a larger one. A loss of pairs or sessions
        always divides by its own count, since those do not reach beyond a batch.
        """
        losses = {}
        known = {} if totals is None else {t.name: totals[i] for i, t in enumerate(self.tasks)}
        for task, word, weighted, total in self.loss_sums(logits, batch):
            if task.losses[word].per_row:
                total = known.get(task.name, total)
            mean = weighted / torch.where(total > 0, total, 1.0)
            losses[f"{word}_{task.name}"] = task.weight * mean.float()
        return losses

    def loss_sums(
        self, logits: Mapping[str, Tensor], batch: Batch
    ) -> Iterator[tuple[Task, str, Tensor, Tensor]]:
        """For each task and word of a loss: sum(w l) and sum(w), or what ``Loss.sums`` gives."""
        of_tasks = self.logits(logits)
        for task in self.tasks:
            for word, sums in task.loss_sums(of_tasks, batch).items():
                yield task, word, *sums

    def predict(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All named outputs."""
        of_tasks = self.logits(logits)
        outputs = {}
        for task in self.tasks:
            outputs |= task.predict(of_tasks[task.name])
        return outputs

    def update(self, outputs: Mapping[str, Tensor], batch: Batch) -> None:
        """Take a batch into the metrics; rows without label are left out."""
        for task in self.tasks:
            task.update(outputs, batch)

    def compute(self) -> dict[str, float]:
        """``{"auc_ctr": 0.71, "auc_ctr_in_space": ...}``; NaN where a metric is not defined."""
        results = {}
        for key, metric in self.named_metrics().items():
            with metric.sync_context():  # of several processes, their rows together
                lost = int(metric.nan_predictions)
                results[key] = math.nan if lost else float(metric.compute())
            if lost:
                log.warning("%s is undefined: %s predictions are NaN", key, f"{lost:,}")
        return results

    def named_metrics(self) -> dict[str, Metric]:
        named = {}
        for task in self.tasks:
            for word, metric in task.metrics.items():
                named[f"{word}_{task.name}"] = metric
                if word in task.space_metrics:
                    named[f"{word}_{task.name}_in_space"] = task.space_metrics[word]
        return named

    def loss_keys(self) -> list[str]:
        return [f"{word}_{task.name}" for task in self.tasks for word in task.losses]

    def reset(self) -> None:
        for metric in self.named_metrics().values():
            metric.reset()

    def natures(self) -> dict[str, bool | None]:
        """Whether larger is better, for each key of an evaluation; None: neither."""
        metrics = {key: metric.larger_is_better for key, metric in self.named_metrics().items()}
        return {**metrics, **dict.fromkeys(self.loss_keys(), False), "val_loss": False}
