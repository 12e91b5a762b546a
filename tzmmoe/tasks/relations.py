"""How the logits and labels of a task come from those of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from tzmmoe.batch import Column


class Relation:
    """As it stands: the logits of the task's own tower, and its label as the data have it."""

    def columns(self) -> list[Column]:
        """The labels that it reads beside the task's own."""
        return []

    def logits(self, name: str, towers: Mapping[str, Tensor]) -> Tensor:
        """Of the task ``name``, from the logits of all towers."""
        return towers[name]

    def labels(self, own: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Of each row, NaN where it is missing, from the task's own and the others' columns."""
        return own


@dataclass(frozen=True)
class Product(Relation):
    """All of several events happen: the probability is the product of the towers' probabilities.

    The label is 1 where the task's own label and all of ``events`` are 1. It is 0 where any of them
    is 0, whether or not the others are known; otherwise a missing one makes it missing. Labels
    between 0 and 1 are multiplied.
    """

    towers: Sequence[str]
    events: Sequence[str]  # columns

    def columns(self) -> list[Column]:
        return [Column(name, "label", low=0, high=1) for name in self.events]

    def logits(self, name: str, towers: Mapping[str, Tensor]) -> Tensor:
        return reduce(logit_of_product, [towers[each].float() for each in self.towers])

    def labels(self, own: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        parts = torch.stack([own, *(columns[name] for name in self.events)])
        return torch.where((parts == 0).any(dim=0), 0.0, parts.prod(dim=0))


@dataclass(frozen=True)
class Conditional(Relation):
    """An event that only rows with another one can have: elsewhere its label is missing."""

    event: str  # a column

    def columns(self) -> list[Column]:
        return [Column(self.event, "label")]

    def labels(self, own: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        return torch.where(columns[self.event] > 0, own, torch.nan)


def logit_of_product(a: Tensor, b: Tensor) -> Tensor:
    """logit(p q) for p = sigmoid(a), q = sigmoid(b).

    From 1 / (p q) - 1 = e^-a + e^-b + e^(-a-b). The probabilities themselves would round to 0 or 1.
    """
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), dim=0)
