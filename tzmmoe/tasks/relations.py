"""Relations between tasks: how the logits and label of one follow from those of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from tzmmoe.batch import Column

READER = "the label of a task that others depend on"


class Relation:
    """No relation: the logits of the task's own tower, and its label as it is in the data."""

    def columns(self) -> list[Column]:
        """The labels that it reads in addition to the task's own."""
        return []

    def logits(self, name: str, towers: Mapping[str, Tensor]) -> Tensor:
        """The logits of the task ``name``, from those of all towers."""
        return towers[name]

    def reads(self, name: str) -> Sequence[str] | None:
        """The towers that ``logits`` reads; None: perhaps all."""
        return [name] if type(self).logits is Relation.logits else None

    def labels(self, own: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """The label of each row, NaN where missing, from the task's own and other columns."""
        return own


@dataclass(frozen=True)
class Product(Relation):
    """Several events all happen: the probability is the product of the towers' probabilities.

    The label is the product of the task's own label and all of ``events``: 0 where any of them is
    0, even if others are missing; otherwise missing where any of them is.
    """

    towers: Sequence[str]
    events: Sequence[str]  # columns

    def columns(self) -> list[Column]:
        return [Column(name, "label", low=0, high=1, reader=READER) for name in self.events]

    def logits(self, name: str, towers: Mapping[str, Tensor]) -> Tensor:
        return reduce(logit_of_product, [towers[tower].float() for tower in self.towers])

    def reads(self, name: str) -> Sequence[str]:
        return self.towers

    def labels(self, own: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        parts = torch.stack([own, *(columns[name] for name in self.events)])
        return torch.where((parts == 0).any(dim=0), 0.0, parts.prod(dim=0))


@dataclass(frozen=True)
class Conditional(Relation):
    """An event that is only possible after another one: elsewhere its label is missing."""

    event: str  # a column

    def columns(self) -> list[Column]:
        return [Column(self.event, "label", reader=READER)]

    def labels(self, own: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        return torch.where(columns[self.event] > 0, own, torch.nan)


def logit_of_product(a: Tensor, b: Tensor) -> Tensor:
    """logit(p q) for p = sigmoid(a), q = sigmoid(b).

    From 1 / (p q) - 1 = e^-a + e^-b + e^(-a-b). The probabilities themselves would round to 0 or 1.
    """
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), dim=0)
