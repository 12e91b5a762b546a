"""A task: an output of a model with its label, losses and metrics."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from tzmmoe.batch import Batch, Column
from tzmmoe.errors import ConfigError, DataError, Faults, few, within
from tzmmoe.nn.activations import output_activation
from tzmmoe.nn.members import mean_of_probabilities
from tzmmoe.tasks.baseline import LabelSpread
from tzmmoe.tasks.losses import Loss
from tzmmoe.tasks.losses.base import LossInputs
from tzmmoe.tasks.metrics import METRICS, Metric
from tzmmoe.tasks.relations import Relation


@dataclass(frozen=True)
class TaskSpace:
    """The factors of rows by a column, their indicator.

    A label: above 0 they are ``inside``, at 0 or below ``outside``; rows without it do not count.
    With ``group``, a group of the column: those of that group are ``inside``, all others
    ``outside``.
    """

    indicator: str
    inside: float
    outside: float
    group: int | None = None

    def column(self, task: str) -> Column:
        role, field = "label", "task_space_indicator_label"
        if self.group is not None:
            role, field = "group", "task_space_indicator_name"
        return Column(self.indicator, role, reader=f"{field} of {task}")

    def contains(self, column: Tensor) -> Tensor:
        """(B,) bool."""
        return column > 0 if self.group is None else column == self.group

    def factors(self, column: Tensor) -> Tensor:
        """(B,)"""
        inside = self.contains(column)
        outside = column <= 0 if self.group is None else ~inside
        return inside * self.inside + outside * self.outside


@dataclass(frozen=True)
class Task:
    """One output's label, losses and metrics, by their words of the schema or other names.

    Logits and label are those of the tower ``name`` and the column ``label``, or what ``relation``
    makes of several. A loss gets the logits, with ``activation`` applied unless that is the loss's
    own link. ``loss_weights``: of the losses, 1 where there is none; ``learned_weights``: the
    losses whose weights are learned instead. ``links``: for a task without losses, which is not
    learned by itself, the losses that say what its logits mean. ``label_classes``: the texts of the
    label by class; empty if it holds numbers. ``auxiliary``: the task has no outputs in exports and
    predictions.
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
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    learned_weights: Sequence[str] = ()
    activation: str = ""  # of the logits, by a name of Keras
    relation: Relation = field(default_factory=Relation)
    links: Sequence[Loss] = ()
    label_classes: tuple[str, ...] = ()
    auxiliary: bool = False
    baseline: LabelSpread = field(default_factory=LabelSpread, compare=False)

    def separate(self) -> "Task":
        """The same task with metrics of its own."""
        return replace(
            self,
            baseline=copy.deepcopy(self.baseline),
            metrics=copy.deepcopy(self.metrics),
            space_metrics=copy.deepcopy(self.space_metrics),
        )

    @property
    def in_messages(self) -> str:
        return f"task {self.name!r}"

    def check(self) -> None:
        """Raise ConfigError if losses, metrics, activation and number of logits do not match."""
        faults = Faults()
        for loss in self.losses.values():
            with faults.under(""):
                loss.label_kind(self.num_class)
        faults.stop()
        self._check_activation()
        many = f" of {self.num_class} classes" if self.num_class > 1 else ""
        for index, (word, metric) in enumerate(self.metrics.items()):
            if word in self.losses:
                words = f"{word} is also the name of a loss, and results carry it; rename one"
                faults.add(f"metrics[{index}]", words)
            if self.consumed(metric) is None:
                one = " of one class" if many and not metric.several_classes else ""
                one = one if metric.one_class else " of several classes"
                words = f"{word} takes {' or '.join(metric.consumes)}{one}, but the losses give "
                words += f"{', '.join(self.outputs())}{many}{self._fitting_metrics()}"
                faults.add(f"metrics[{index}]", words)
        faults.stop()

    def _fitting_metrics(self) -> str:
        """The metrics that suit the losses, as the end of a message."""
        words = [word for word in METRICS.words if self.consumed(METRICS[word]) is not None]
        return f"; give {few(words)}, or choose another loss" if words else ""

    @cached_property
    def activate(self) -> nn.Module | None:
        """The layer that ``activation`` names, or None. Raises ConfigError for an unknown name."""
        with within("output_activation"):
            return output_activation(self.activation)

    def outputs(self) -> list[str]:
        """The kinds of output, such as logits and probs."""
        names = [name for loss in self._links for name in loss.outputs]
        names += ("logits", "probs", "probs1") if self._gives_probs else ()
        return [n for n in dict.fromkeys(names) if n != "probs1" or self.num_class == 2]

    def consumed(self, metric: Metric) -> str | None:
        """The kind of output that a metric consumes, or None."""
        names = self.outputs() if self.num_class > 1 or metric.one_class else []
        if self.num_class > 1 and not metric.several_classes:
            names = [name for name in names if name not in ("logits", "probs")]
        return next((name for name in metric.consumes if name in names), None)

    @property
    def is_learned(self) -> bool:
        """Whether a loss teaches the task, by itself or through those that are derived from it."""
        return not self.losses or any(self.loss_weight(word) != 0 for word in self.losses)

    def loss_weight(self, word: str) -> float:
        """The weight of a loss in the total, unless a strategy replaces it."""
        return 1.0 if word in self.learned_weights else self.weight * self.loss_weights.get(word, 1)

    def measured(self) -> str | None:
        """The output that a constant could be in place of: a number, a probability, or neither."""
        kinds = ("y", "probs") if self.num_class == 1 else ("probs1",)
        return next((kind for kind in kinds if kind in self.outputs()), None)

    def columns(self, *, measured: bool = True) -> list[Column]:
        """The columns that the task reads in addition to the features; ``measured``: also those
        that only metrics read."""
        kinds = [loss.label_kind(self.num_class) for loss in self._links]
        of_label, texts = f"the label of {self.in_messages}", self.label_classes
        columns = [
            Column(self.label, "label", k.low, k.high, k.num_classes, texts, of_label)
            for k in kinds
        ]
        columns += self.relation.columns()
        if self.sample_weight:
            reader = f"sample_weight_name of {self.in_messages}"
            columns.append(Column(self.sample_weight, "weight", low=0, reader=reader))
        if self.space:
            columns.append(self.space.column(self.in_messages))
        return columns + self._groups(measured=measured)

    def _groups(self, *, measured: bool) -> list[Column]:
        """The further columns of losses and, if ``measured``, of metrics, by name."""
        groups: dict[str, str] = {}
        for word, part in [*self.losses.items(), *(self.metrics.items() if measured else ())]:
            field = f"{word}.{part.column_field}" if part.column_field else word
            for name in part.columns:
                groups.setdefault(name, f"{field} of {self.in_messages}")
        return [Column(name, "group", reader=groups[name]) for name in sorted(groups)]

    def labels(self, batch: Batch) -> Tensor:
        """(B,) or (B, C), NaN where missing."""
        return self.relation.labels(batch.columns[self.label], batch.columns)

    def weights(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The labels, 0 where missing; and the weights (B,), 0 where a row does not count."""
        labels = self.labels(batch)
        weights = (~missing(labels)).to(torch.float32)
        if self.sample_weight:
            weights = weights * batch.columns[self.sample_weight]
        if self.space:
            weights = weights * self.space.factors(self.indicator(batch))
        return labels.nan_to_num(0.0), weights

    def indicator(self, batch: Batch) -> Tensor:
        """(B,), that of the task's space. Raises DataError for a column of lists."""
        indicator = batch.columns[self.space.indicator]
        if indicator.dim() > 1:
            raise DataError(
                f"column {self.space.indicator!r} holds lists; task_space_indicator_label of "
                f"{self.name!r} needs one number in each row"
            )
        return indicator

    def loss_sums(
        self, logits: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """``Loss.sums`` by word, from the logits of all tasks; with members, the mean over them."""
        sums, own = {}, logits[self.name]
        members = own.shape[1] if self._has_members(own) else 1
        for word, inputs in self._inputs(batch).items():
            loss = self.losses[word]
            if members == 1:
                sums[word] = self._sums(loss, inputs, logits)
            elif loss.is_by_row:  # all members at once
                rows = {self.name: own.flatten(0, 1)}
                sums[word] = self._sums(loss, inputs.repeated(members), rows)
            else:
                each, tallies = [], []
                for m in range(members):
                    of_member = {name: part[:, m] for name, part in logits.items()}
                    each.append(self._sums(loss, inputs, of_member))
                    tallies.append(loss.tally)
                loss.tally = tallies[0]  # a batch counts once
                sums[word] = tuple(sum(parts) / members for parts in zip(*each, strict=True))
        return sums

    def _sums(
        self, loss: Loss, inputs: LossInputs, logits: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        own = self._seen_by(loss, logits[self.name])
        others = {name: logits[name] for name in loss.others}
        return loss.sums(replace(inputs, logits=own, others=others))

    def _has_members(self, logits: Tensor) -> bool:
        return logits.dim() > (2 if self.num_class > 1 else 1)

    def averaged(self, logits: Tensor) -> Tensor:
        """The logits of the members' average, (B, k) -> (B,) or (B, k, C) -> (B, C): those of the
        mean of their probabilities, or for a task without probabilities, the mean of their logits.
        Without members, the logits themselves."""
        if not self._has_members(logits):
            return logits
        links = {loss.link(self.num_class) for loss in self._links}
        if "probs" in self.outputs() or links & {"sigmoid", "softmax"}:
            return mean_of_probabilities(logits, several_classes=self.num_class > 1)
        return logits.float().mean(dim=1)

    def divisors(self, batch: Batch) -> dict[str, Tensor | None]:
        """``Loss.divisor`` by word."""
        inputs = self._inputs(batch)
        return {word: self.losses[word].divisor(each) for word, each in inputs.items()}

    def _inputs(self, batch: Batch) -> dict[str, LossInputs]:
        """What each loss gets, by word, but for logits."""
        if not self.losses:
            return {}
        labels, weights = self.weights(batch)
        inputs = {}
        for word, loss in self.losses.items():
            counted = weights
            if loss.rows == "labelled":
                counted = ~missing(self.labels(batch))
            elif loss.rows == "all":
                counted = torch.ones_like(weights)
            columns = {name: batch.columns[name] for name in loss.columns}
            # In float32, a sum of large weights may be infinite.
            inputs[word] = LossInputs(None, labels, counted.double(), columns, {})
        return inputs

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        """``logits_<name>``, ``probs_<name>``, ... of the losses and of a sigmoid or softmax."""
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
        labelled = present.nonzero().squeeze(1)  # to index by a mask starts threads at any size
        measured = [(self.metrics, labelled)]
        if self.space:
            inside = (present & self.space.contains(self.indicator(batch))).nonzero().squeeze(1)
            measured.append((self.space_metrics, inside))
        for metrics, rows in measured:
            for metric in metrics.values():
                predictions, kept = self._compared(self.consumed(metric), outputs, labels, rows)
                groups = {n: batch.columns[n].index_select(0, rows) for n in metric.columns}
                metric.nan_predictions += predictions.isnan().sum()
                metric.update(predictions.nan_to_num(0.0), kept, **groups)
        if kind := self.measured():
            learned = inside if self.space and not self.space.outside else labelled
            self.baseline.update(*self._compared(kind, outputs, labels, learned))

    def named_metrics(self) -> dict[str, Metric]:
        """``{"auc_ctr": ..., "auc_ctr_in_space": ...}``."""
        named = {}
        for word, metric in self.metrics.items():
            named[f"{word}_{self.name}"] = metric
            named[f"{word}_{self.name}_in_space"] = self.space_metrics.get(word)
        return {key: metric for key, metric in named.items() if metric is not None}

    def value(self, metric: Metric) -> float:  # of the task, which errors in user classes name
        return float(metric.compute())

    def _compared(
        self, kind: str, outputs: Mapping[str, Tensor], labels: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An output in some rows, and the labels there; of two classes, those of the second."""
        predictions = outputs[f"{kind}_{self.name}"].index_select(0, rows)
        kept = labels.index_select(0, rows)
        return predictions, kept[:, 1] if kept.dim() > predictions.dim() else kept

    @property
    def _links(self) -> Sequence[Loss]:
        return self.links or list(self.losses.values())

    def _check_activation(self) -> None:
        """Raise ConfigError if the activation does not suit the number of logits, or a loss."""
        if self.activate is None:
            return
        is_one = self.num_class == 1
        link = "sigmoid" if is_one else "softmax"
        if self._gives_probs and self._link != link:
            logits = f"{self.num_class} {'logit' if is_one else 'logits'}"
            words = f"is {self.activation!r}, but the tower has {logits}; give {link!r}"
            raise ConfigError.at("output_activation", words)
        for word, loss in self.losses.items():
            link = loss.link(self.num_class)
            if link not in ("", self._link):
                words = f"is {self.activation!r}, but {word} itself applies {link} to the logits"
                raise ConfigError.at(
                    "output_activation", f"{words}; remove it or choose another loss"
                )

    @property
    def _link(self) -> str:
        return self.activation.lower()

    @property
    def _gives_probs(self) -> bool:
        """Whether the activation makes probabilities, independent of the losses."""
        return self._link in ("sigmoid", "softmax")

    def _seen_by(self, loss: Loss, logits: Tensor) -> Tensor:
        """The logits as a loss sees them, in float32."""
        logits = logits.float()
        if self.activate is None or loss.link(self.num_class) == self._link:
            return logits
        return self.activate(logits)


def missing(labels: Tensor) -> Tensor:
    """(B,) bool, True for rows without a label; a distribution is missing if any part of it is."""
    return labels.isnan() if labels.dim() == 1 else labels.isnan().any(dim=1)
