"""One output of a model: its label, losses and metrics."""

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from tzmmoe.batch import Batch, Column
from tzmmoe.errors import ConfigError, DataError, Faults, did_you_mean, within
from tzmmoe.nn.activations import output_activation
from tzmmoe.tasks.losses import Loss
from tzmmoe.tasks.losses.base import LossInputs
from tzmmoe.tasks.metrics import Metric
from tzmmoe.tasks.relations import Relation


@dataclass(frozen=True)
class TaskSpace:
    """Rows whose indicator is > 0 lie within the space; a missing one lies in neither part."""

    indicator: str
    inside: float
    outside: float


@dataclass(frozen=True)
class Task:
    """One output's label, losses and metrics; these go by their words of the schema.

    Logits and label are those of the tower ``name`` and the column ``label``, or what ``relation``
    makes of several. A loss gets the logits, or, where ``activation`` is not its own link, what
    that makes of them. ``links``: losses that only say what the logits of a task without losses
    mean; it is not learned by itself.
    """

    name: str
    label: str
    num_class: int
    weight: float
    sample_weight: str | None
    space: TaskSpace | None
    losses: Mapping[str, Loss]
    metrics: Mapping[str, Metric]
    space_metrics: Mapping[str, Metric] = field(default_factory=dict)
    activation: str = ""  # of the logits, by a name of Keras
    relation: Relation = field(default_factory=Relation)
    links: Sequence[Loss] = ()

    def separate(self) -> "Task":
        """The same task with metrics of its own."""
        return replace(
            self,
            metrics=copy.deepcopy(self.metrics),
            space_metrics=copy.deepcopy(self.space_metrics),
        )

    @property
    def _links(self) -> Sequence[Loss]:
        return self.links or list(self.losses.values())

    def check(self) -> None:
        """Raise ConfigError when losses, metrics, activation and number of logits do not fit."""
        faults = Faults()
        for loss in self.losses.values():
            try:
                loss.label_kind(self.num_class)
            except ConfigError as error:
                faults.extend(error.faults)
        faults.stop()
        self._check_activation()
        many = f" of {self.num_class} classes" if self.num_class > 1 else ""
        for index, (word, metric) in enumerate(self.metrics.items()):
            if self.consumed(metric) is None:
                one = " of one class" if many and not metric.several_classes else ""
                faults.add(
                    f"metrics[{index}]",
                    f"{word} takes {' or '.join(metric.consumes)}{one}, but the losses give "
                    f"{', '.join(self.outputs())}{many}",
                )
        faults.stop()

    def _check_activation(self) -> None:
        """Raise ConfigError when it does not suit the number of logits, or a loss."""
        if self.activate is None:
            return
        found = f"is {self.activation!r}"
        wanted = "sigmoid" if self.num_class == 1 else "softmax"
        if self._gives_probs and self._link != wanted:
            logits = "logit" if self.num_class == 1 else "logits"
            text = f"{found}, but the tower has {self.num_class} {logits}; give {wanted!r}"
            raise ConfigError.at("output_activation", text)
        for word, loss in self.losses.items():
            link = loss.link(self.num_class)
            if link not in ("", self._link):
                text = f"{found}, but {word} applies {link} to the logits itself; remove it"
                raise ConfigError.at("output_activation", f"{text}, or choose another loss")

    @cached_property
    def activate(self) -> nn.Module | None:
        """What ``activation`` names; None for none. Raises ConfigError for an unknown name."""
        with within("output_activation"):
            return output_activation(self.activation)

    @property
    def _link(self) -> str:
        return self.activation.lower()

    @property
    def _gives_probs(self) -> bool:
        """Whether the activation makes probabilities, whatever the losses are."""
        return self._link in ("sigmoid", "softmax")

    def _seen_by(self, loss: Loss, logits: Tensor) -> Tensor:
        """What a loss gets, in float32."""
        logits = logits.float()
        if self.activate is None or loss.link(self.num_class) == self._link:
            return logits
        return self.activate(logits)

    def outputs(self) -> list[str]:
        """Kinds of output, such as logits and probs."""
        names = [name for loss in self._links for name in loss.outputs]
        names += ("logits", "probs", "probs1") if self._gives_probs else ()
        return [n for n in dict.fromkeys(names) if n != "probs1" or self.num_class == 2]

    def consumed(self, metric: Metric) -> str | None:
        """The output that a metric takes, or None."""
        names = self.outputs()
        if self.num_class > 1 and not metric.several_classes:
            names = [name for name in names if name not in ("logits", "probs")]
        return next((name for name in metric.consumes if name in names), None)

    def columns(self) -> list[Column]:
        """What the task reads beside the features."""
        kinds = [loss.label_kind(self.num_class) for loss in self._links]
        columns = [Column(self.label, "label", k.low, k.high, k.num_classes) for k in kinds]
        columns += self.relation.columns()
        if self.sample_weight:
            columns.append(Column(self.sample_weight, "weight", low=0))
        if self.space:
            columns.append(Column(self.space.indicator, "label"))
        readers = [*self.metrics.values(), *self.losses.values()]
        groups = {name for reader in readers for name in reader.columns}
        return columns + [Column(name, "group") for name in sorted(groups)]

    def labels(self, batch: Batch) -> Tensor:
        """Of each row (B,) or (B, C), NaN where it is missing."""
        return self.relation.labels(batch.columns[self.label], batch.columns)

    def weights(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Labels, 0 where missing, and the weight of each row (B,), 0 where it does not count."""
        labels = self.labels(batch)
        weights = (~missing(labels)).to(torch.float32)
        if self.sample_weight:
            weights = weights * batch.columns[self.sample_weight]
        if self.space:
            indicator = self.indicator(batch)
            inside = (indicator > 0) * self.space.inside + (indicator <= 0) * self.space.outside
            weights = weights * inside
        return labels.nan_to_num(0.0), weights

    def indicator(self, batch: Batch) -> Tensor:
        """(B,), of the task's space. Raises DataError for a column of lists."""
        found = batch.columns[self.space.indicator]
        if found.dim() > 1:
            raise DataError(
                f"column {self.space.indicator!r} holds lists; task_space_indicator_label of "
                f"{self.name!r} needs one number in each row"
            )
        return found

    def loss_sums(
        self, logits: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """``Loss.sums`` by word, from the logits of all tasks."""
        if not self.losses:
            return {}
        labels, weights = self.weights(batch)
        weights = weights.double()  # the sum of large weights is infinite in float32
        return {
            word: loss.sums(
                LossInputs(
                    self._seen_by(loss, logits[self.name]),
                    labels,
                    weights,
                    {name: batch.columns[name] for name in loss.columns},
                    {name: logits[name] for name in loss.others},
                )
            )
            for word, loss in self.losses.items()
        }

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        """``logits_<name>``, ``probs_<name>``, ... of all losses, and of sigmoid and softmax."""
        outputs = {}
        for loss in self._links:
            outputs |= loss.predict(self._seen_by(loss, logits))
        if self._gives_probs:
            outputs |= {"logits": logits.float(), "probs": self.activate(logits.float())}
            if self.num_class == 2:
                outputs["probs1"] = outputs["probs"][:, 1]
        return {f"{kind}_{self.name}": output for kind, output in outputs.items()}

    def update(self, outputs: Mapping[str, Tensor], batch: Batch) -> None:
        """Take a batch into the metrics; rows without label are left out."""
        labels = self.labels(batch)
        present = ~missing(labels)
        measured = [(self.metrics, present)]
        if self.space:
            measured.append((self.space_metrics, present & (self.indicator(batch) > 0)))
        for metrics, rows in measured:
            kept = labels[rows]
            for metric in metrics.values():
                predictions = outputs[f"{self.consumed(metric)}_{self.name}"][rows]
                of_two = kept.dim() == 2 and predictions.dim() == 1
                groups = {name: batch.columns[name][rows] for name in metric.columns}
                metric.nan_predictions += predictions.isnan().sum()
                metric.update(predictions.nan_to_num(0.0), kept[:, 1] if of_two else kept, **groups)


def missing(labels: Tensor) -> Tensor:
    """Rows (B,) without a label; a distribution (B, C) is missing when any part of it is."""
    return labels.isnan() if labels.dim() == 1 else labels.isnan().any(dim=1)


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

    def larger_is_better(self) -> dict[str, bool | None]:
        """Whether larger is better, for each key of an evaluation; None: neither."""
        metrics = {key: metric.larger_is_better for key, metric in self.named_metrics().items()}
        return {**metrics, **dict.fromkeys(self.loss_keys(), False), "val_loss": False}
