"""What distinguishes one multi-task model from another: the part between inputs and towers."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from tzmmoe.config.rulebook import Rules
from tzmmoe.errors import ConfigError, within
from tzmmoe.models.tower import Tower
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.registry import Registry
from tzmmoe.tables.initializers import Initializer
from tzmmoe.tables.penalties import Penalty
from tzmmoe.tasks.task import Task

MODELS: Registry[type["Body"]] = Registry(ModelConfig, "model")

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class TowerSpec:
    """What the config says of a tower's network: its name, its number of logits, and the fields of
    its ``mlp``, None when unset. ``further``: fields that only this model's towers have."""

    name: str
    num_class: int
    mlp: Mapping[str, Any] | None
    further: Mapping[str, Any]


class TowerInputs(NamedTuple):
    """hidden: T tensors (B, H). addends: T tensors (B, 1) that are added to the towers' logits."""

    hidden: Sequence[Tensor]
    addends: Sequence[Tensor] | None = None


class Body(nn.Module, ABC):
    """Inputs by feature group -> one input for each tower.

    A body is made with ``groups``, those of the config; ``towers``, their specifications in order;
    and the fields of its message in the schema but its towers and those of ``of_tasks``.
    """

    rules: ClassVar[Rules] = Rules()  # for the configs that choose the model
    of_tasks: tuple[str, ...] = ()  # fields that say something of the tasks, not of the network
    groups: Mapping[str, Sequence[str]]  # the inputs that it reads, and the features of each
    factors: Mapping[str, Factor] = {}  # further inputs that it reads
    out_features: Sequence[int]  # of each tower's input
    reads: Mapping[str, Sequence[str]] = {}  # tower -> towers whose hidden states it gets too

    @classmethod
    def relate(cls, tasks: Sequence[Task], fields: Mapping[str, Any]) -> list[Task]:
        """The model's tasks, from one for each tower, in order. ``fields``: those of ``of_tasks``.

        Raises ConfigError, with paths in the model's message.
        """
        return list(tasks)

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        """inputs: (B, D) for each of ``groups``, (B, N, dim) for each of ``factors``."""

    def tower(self, index: int, spec: TowerSpec, read: Sequence[Tower] = ()) -> Tower:
        """The network of a task. ``read``: the towers whose hidden states it gets too.

        Raises ConfigError, with paths in the tower's message.
        """
        width = self.out_features[index] + sum(each.state_features for each in read)
        with within("mlp"):
            return Tower(width, spec.num_class, spec.mlp)

    def order(self, names: Sequence[str]) -> list[str]:
        """The towers, each after those that it reads. ConfigError where that cannot be."""
        unknown = {each for read in self.reads.values() for each in read} - set(names)
        if unknown:
            words = f"a tower reads {', '.join(sorted(unknown))}; give one of {', '.join(names)}"
            raise ConfigError.at("", words)
        try:
            before = {name: self.reads.get(name, ()) for name in names}
            return list(TopologicalSorter(before).static_order())
        except CycleError as error:
            ring = " <- ".join(error.args[1])
            raise ConfigError.at("", f"towers read each other: {ring}; remove one") from error


def only_group(groups: Mapping[str, Group], model: str) -> str:
    """The only feature group, or the one named ``all``, or the first, with a line that says so."""
    names = list(groups)
    chosen = "all" if "all" in names else names[0]
    if len(names) > 1:
        unused = ", ".join(name for name in names if name != chosen)
        log.warning("%s reads the feature group %r; it does not read: %s", model, chosen, unused)
    return chosen
