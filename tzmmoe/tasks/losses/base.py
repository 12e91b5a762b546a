"""What a loss is: a value for each row or for a batch, and what the logits mean."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError, exactly
from tzmmoe.protos import loss_pb2
from tzmmoe.registry import Registry

LOSSES: Registry[type["Loss"]] = Registry(loss_pb2.Loss, "loss")


@dataclass(frozen=True)
class LabelKind:
    """The labels that a loss takes: numbers within [low, high], or one of ``num_classes``."""

    low: float = float("-inf")
    high: float = float("inf")
    num_classes: int = 0


@dataclass(frozen=True)
class LossInputs:
    """A batch as a loss sees it.

    logits: float32 (B,), or (B, C) for several classes; None for ``Loss.divisor``. labels: 0 where
    missing. weights: float64 (B,), 0 where a row does not count. columns: those that the loss names
    in ``columns``, int64 (B,). others: the model's logits of the tasks that the loss names in
    ``others``.
    """

    logits: Tensor | None
    labels: Tensor
    weights: Tensor
    columns: Mapping[str, Tensor]
    others: Mapping[str, Tensor]

    def repeated(self, times: int) -> "LossInputs":
        """Each row ``times`` times in succession, its weight divided by ``times``; no ``columns``,
        which ``forward`` does not read."""
        labels = self.labels.repeat_interleave(times, 0)
        weights = self.weights.repeat_interleave(times, 0) / times
        return replace(self, labels=labels, weights=weights, columns={})


@LOSSES.base
class Loss(ABC):
    """A loss of a task with ``num_class`` logits.

    Most define ``forward``. A loss that compares rows with each other, as pairs or sessions, or
    that sees several tasks defines ``sums``, and ``per_row``: whether the denominator is sum(w). If
    it is another number that does not depend on the logits, ``divisor`` returns it.
    """

    outputs: tuple[str, ...]  # the keys that ``predict`` returns
    columns: tuple[str, ...] = ()  # further columns of the data, such as a session's id
    column_field: str = ""  # the field of the config that names them
    others: tuple[str, ...] = ()  # further tasks whose logits it sees
    needs_one_logit: bool = False  # of each of those tasks
    per_row: bool = True
    rows: str = "weighted"  # or "labelled", or "all": each of those rows has weight 1
    tally: tuple[int, int | Tensor] = (0, 0)  # batches, and comparisons made in them
    precision: float = 1.0  # factor of exp(-s) where its weight is learned; 1/2 of squared errors

    @property
    def is_by_row(self) -> bool:
        """Whether ``forward`` alone defines the loss, so that rows do not depend on each other."""
        return type(self).sums is Loss.sums

    def __init_subclass__(cls) -> None:
        """TypeError for ``sums`` without ``per_row``, on which the mean over processes depends."""
        super().__init_subclass__()
        if "sums" in vars(cls) and "per_row" not in vars(cls):
            raise TypeError(f"{cls.__name__} defines sums; set per_row too")

    @abstractmethod
    def label_kind(self, num_class: int) -> LabelKind:
        """The labels that the loss takes. Raises ConfigError if it cannot have so many logits."""

    def link(self, num_class: int) -> str:
        """The activation that the loss itself applies to its logits, so that a tower's
        output_activation of that name changes nothing: ``sigmoid``, ``softmax``, or ``""``."""
        return ""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each row (B,). logits: (B,), or (B, C) for several classes."""
        raise NotImplementedError(f"{type(self).__name__} defines neither forward nor sums")

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the batch's loss: sum(w l) and sum(w) over its rows.

        For pairs or sessions: their weighted sum and the number that count; both 0 if none does.
        """
        rows, weights = self.forward(inputs.logits, inputs.labels), inputs.weights
        if rows.shape != weights.shape:  # it would be multiplied by the weights of other rows
            shapes = f"{tuple(rows.shape)}, not {tuple(weights.shape)}"
            raise ValueError(f"forward returned {shapes}; return one loss of each row")
        return weighted_sums(rows, weights)

    def compared_rows(self) -> str:
        """What a loss that compares rows needs, such as ``two rows with different labels``; its
        ``sums`` call ``count_compared``. Empty for all other losses."""
        return ""

    def count_compared(self, count: int | Tensor) -> None:
        """Add a batch to ``tally``, with the number of its comparisons."""
        batches, total = self.tally
        self.tally = (batches + 1, total + count)

    def divisor(self, inputs: LossInputs) -> Tensor | None:
        """The denominator of ``sums``, from inputs without logits; None if it depends on them.

        Several processes divide by the sum of theirs; without one, they average their losses.
        """
        return inputs.weights.sum() if self.per_row else None

    @abstractmethod
    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        """What the logits mean: ``logits``, ``probs``, ``probs1``, ``y``."""


def one_logit(num_class: int, loss: str) -> None:
    if num_class != 1:
        raise ConfigError.at("num_class", f"is {num_class}; {loss} takes 1 logit")


def weighted_sums(losses: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """sum(w l) and sum(w) over rows (B,). The loss of a row of weight 0 may be NaN."""
    return (torch.where(weights > 0, losses, 0.0) * weights).sum(), weights.sum()


def smoothed_logs(log_p: Tensor, log_q: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The logarithms of both classes, each mixed with ``epsilon`` / 2 of the other. Their cross
    entropy is that of labels smoothed to y (1 - e) + e / 2."""
    if not epsilon:
        return log_p, log_q
    moved = epsilon / 2
    return (1 - moved) * log_p + moved * log_q, (1 - moved) * log_q + moved * log_p


def share(field: str, value: float) -> float:
    if not 0 < value <= 1:
        raise ConfigError.at(field, f"is {exactly(value)}; give above 0, at most 1")
    return value


def hardest(losses: Tensor, weights: Tensor, ratio: float) -> Tensor:
    """The part of each element (N,) that is kept, in [0, 1]: 1 for the largest losses, so that
    sum(w kept) = ratio sum(w). Elements equal to the smallest kept loss share what remains."""
    if not len(losses):
        return weights
    ordered, order = losses.detach().sort(descending=True, stable=True)
    target = ratio * weights.sum()
    last = torch.searchsorted(weights[order].cumsum(0), target.unsqueeze(0))
    bound = ordered[last.clamp(max=len(losses) - 1)]
    above, at = losses > bound, losses == bound
    at_bound = (weights * at).sum()
    rest = (target - (weights * above).sum()) / torch.where(at_bound > 0, at_bound, 1.0)
    return above + at * rest.clamp(0, 1)


def smoothing(value: float) -> float:
    if not 0 <= value < 1:
        raise ConfigError.at("label_smoothing", f"is {exactly(value)}; give 0 to below 1")
    return value
