"""One output of a model: its label, losses and metrics."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from tzmmoe.batch import Batch, Column
from tzmmoe.errors import ConfigError, DataError, Faults, within
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
