"""What distinguishes one multi-task model from another: the part between inputs and towers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from tzmmoe.config.rulebook import Rules
from tzmmoe.models.tower import Tower
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.registry import Registry
from tzmmoe.tables.initializers import Initializer
from tzmmoe.tables.penalties import Penalty

MODELS: Registry[type["Body"]] = Registry(ModelConfig, "model")


@dataclass(frozen=True)
class Group:
    """A feature group, in order: the width of each feature's part of its input, and how many fields
    a feature is: one category, or each of its numbers."""

    widths: Mapping[str, int]
    fields: Mapping[str, int]

    @property
    def width(self) -> int:
        """D of the group's input."""
        return sum(self.widths.values())


@dataclass(frozen=True)
class Factor:
    """A vector of width ``dim`` for each of N fields, in tables that only the body reads.

    That of a category is the mean of its values' rows, or their sum when they are weighted; that of
    a number is a row times the number. ``init`` fills (rows, dim); ``penalty`` acts on all rows.
    ``by_task``: column t is task t's.
    """

    features: Sequence[str]
    dim: int
    init: Initializer
    penalty: Penalty
    by_task: bool = False


class TowerInputs(NamedTuple):
    """hidden: T tensors (B, H). addends: T tensors (B, 1) that are added to the towers' logits."""

    hidden: Sequence[Tensor]
    addends: Sequence[Tensor] | None = None


class Body(nn.Module, ABC):
    """Inputs by feature group -> one input for each tower.

    A body is made with ``groups``, those of the config; ``num_tasks``; and its fields in the schema
    but the towers.
    """

    rules: ClassVar[Rules] = Rules()  # for the configs that choose the model
    groups: Mapping[str, Sequence[str]]  # the inputs that it reads, and the features of each
    factors: Mapping[str, Factor] = {}  # further inputs that it reads
    out_features: Sequence[int]  # of each tower's input

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        """inputs: (B, D) for each of ``groups``, (B, N, dim) for each of ``factors``."""

    def tower(self, index: int, num_class: int, mlp: Mapping[str, Any] | None) -> Tower:
        """The network of a task, from the tower's fields ``num_class`` and ``mlp``."""
        return Tower(self.out_features[index], num_class, mlp)
