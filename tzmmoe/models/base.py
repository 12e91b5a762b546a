"""What a body is: the part between inputs and towers, in which multi-task models differ."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from graphlib import CycleError, TopologicalSorter
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from tzmmoe.config.rulebook import Rules
from tzmmoe.errors import ConfigError, Faults
from tzmmoe.models.parts import MEMBERS, Part, part_of, parts_of_children
from tzmmoe.models.tower import Tower
from tzmmoe.nn.members import check_members, member_inputs
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.registry import Registry
from tzmmoe.tables.initializers import Initializer
from tzmmoe.tables.penalties import Penalty, penalize
from tzmmoe.tasks.task import Task

MODELS: Registry[type["Body"]] = Registry(ModelConfig, "model")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """A feature group, in order.

    ``widths``: of each feature's part of the group's input. ``fields``: how many a feature has, 1
    for a category, otherwise one for each number. ``numbers``: how many numbers a feature without a
    table has. ``is_wide``: whether ``group_type`` is WIDE.
    """

    widths: Mapping[str, int]
    fields: Mapping[str, int]
    numbers: Mapping[str, int] = field(default_factory=dict)
    is_wide: bool = False

    @property
    def width(self) -> int:
        """D of the group's input."""
        return sum(self.widths.values())


class Pooling(Enum):
    """How the rows e of a feature's values become one vector. w: the values' weights, or 1."""

    BY_FEATURE = "the mean, or sum w e if the feature is weighted"
    WEIGHTED_SUM = "sum w e"
    WEIGHTED_MEAN = "sum w e / sum w"
    SUM = "sum e"
    MEAN = "the mean of e"


@dataclass(frozen=True)
class Factor:
    """A vector of width ``dim`` for each of N fields, from tables that only the body reads.

    The vector of a category is its values' rows, combined by ``pooling``; that of a number is a row
    times the number, zeros if it is missing. A feature that is listed twice is looked up once.

    ``init`` fills (rows, dim); None: as the features' own tables start. ``penalty`` acts on all
    rows. ``by_task``: column t belongs to task t. ``by_feature``: N is the number of features, and
    the vectors of a feature's numbers are summed; then no weight depends on the order of the
    features. ``shared``: features that share a table share one here too. ``regularized``:
    embedding_regularization acts on it.
    """

    features: Sequence[str]
    dim: int
    init: Initializer | None
    penalty: Penalty
    by_task: bool = False
    pooling: Pooling = Pooling.BY_FEATURE
    by_feature: bool = False
    shared: bool = False
    regularized: bool = True

    def table_name(self, name: str, feature: str, table: str) -> str:
        """The factor's own table for a ``feature`` that reads ``table``. ``name``: the factor's. No
        table of the config has a dot in its name."""
        return f"{table if self.shared else feature}.{name}"


@dataclass(frozen=True)
class TowerSpec:
    """A tower as the config describes it: its name, its number of logits, and the fields of its
    ``mlp`` and ``relation_mlp``, None if unset. ``relations``: the towers whose hidden states it
    reads. ``further``: fields that only this model's towers have."""

    name: str
    num_class: int
    mlp: Mapping[str, Any] | None
    further: Mapping[str, Any]
    relations: Sequence[str] = ()
    relation_mlp: Mapping[str, Any] | None = None


class TowerInputs(NamedTuple):
    """hidden: T tensors (B, H), or (B k, H) of k members, as in ``nn/mlp.py``. addends: T tensors
    (B, 1) to add to the towers' logits. further: the body's outputs by name, (B, D), or (B,) where
    D is 1; in training they may be missing."""

    hidden: Sequence[Tensor]
    addends: Sequence[Tensor] | None = None
    further: Mapping[str, Tensor] = {}


@MODELS.base
class Body(nn.Module, ABC):
    """Inputs by feature group -> one input for each tower.

    A body is made from ``groups``, those of the config; ``towers``, their specifications in order;
    and the fields of its message except its towers and those in ``of_tasks``.
    """

    rules: ClassVar[Rules] = Rules()  # for the configs that choose the model
    starts_itself: ClassVar[bool] = False  # dense_start is for the towers only
    takes_modules: ClassVar[bool] = False  # modules=, those in which classes of the user's may lie
    of_tasks: tuple[str, ...] = ()  # fields that concern the tasks, not the network
    groups: Mapping[str, Sequence[str]]  # inputs that it reads, with the features of each
    factors: Mapping[str, Factor] = {}  # further inputs that it reads
    numbers: Mapping[str, Sequence[str]] = {}  # inputs of plain numbers, with their features
    out_features: Sequence[int]  # of each tower's input
    reads: Mapping[str, Sequence[str]] = {}  # tower -> towers whose hidden states it reads
    outputs: Mapping[str, int] = {}  # further outputs of the model: {name: D}
    kernel_penalty: Penalty = Penalty(0.0, 0.0)  # of the towers' kernels
    num_members: int = 1  # networks that share kernels, whose predictions are averaged

    @classmethod
    def relate(cls, tasks: Sequence[Task], fields: Mapping[str, Any]) -> list[Task]:
        """The model's tasks, from those of its towers in order. ``fields``: those in ``of_tasks``.

        Raises ConfigError, with paths in the model's message.
        """
        return list(tasks)

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        """inputs: (B, D) for each of ``groups``, (B, N, dim) for each of ``factors``, (B, R) for
        each of ``numbers``."""

    def inputs(self) -> dict[str, Sequence[str]]:
        """{input: its features}. Weights may depend on the order of the features."""
        factors = {name: factor.features for name, factor in self.factors.items()}
        return {**self.groups, **factors, **self.numbers}

    def read_one(self, groups: Mapping[str, Group], model: str) -> Group:
        """Read ``only_group`` of the groups, as ``self.group``; what it is like."""
        self.group = only_group(groups, model)
        self.groups = {self.group: list(groups[self.group].widths)}
        return groups[self.group]

    def make_members(self, width: int, num_members: int, faults: Faults) -> int:
        """Make ``member_inputs``, (B, width) -> (B k, width), for so many members. Returns their
        number, 1 after a fault."""
        with faults.under(""):
            check_members(num_members)
            self.num_members = num_members
        self.member_inputs = member_inputs(width, self.num_members)
        return self.num_members

    def tower(self, index: int, spec: TowerSpec, read: Sequence[Tower] = ()) -> Tower:
        """The network of a task. ``read``: the towers whose hidden states it reads.

        Raises ConfigError, with paths in the tower's message.
        """
        made = Tower(
            self.out_features[index],
            spec.num_class,
            spec.mlp,
            read_features=sum(tower.state_features for tower in read),
            relation=spec.relation_mlp,
            members=self.num_members,
        )
        penalize(made, self.kernel_penalty.each_of(self.num_members))
        return made

    def connect(self, towers: Sequence[TowerSpec]) -> None:
        """Let each tower read its ``relations`` too, after the towers that the body itself names.

        Raises ConfigError if the towers then have no order.
        """
        joined = {t.name: [*self.reads.get(t.name, ()), *t.relations] for t in towers}
        own = {name: read for name, read in self.reads.items() if name not in joined}
        self.reads = own | {name: list(dict.fromkeys(read)) for name, read in joined.items()}
        self.order([tower.name for tower in towers])

    def serving(self, kept: Sequence[int]) -> "Body":
        """A body for exports, which gives the inputs only of the towers at the places ``kept``, in
        that order. It may lack what only other towers read."""
        return Selection(self, kept)

    def parts(self) -> Sequence[Part]:
        """The body's parts, for people to read."""
        groups = [f"group {name}" for name in self.groups]
        parts, source = self.first_parts(groups)
        return [*parts, *parts_of_children(self, groups, source)]

    def first_parts(self, groups: Sequence[str]) -> tuple[list[Part], list[str]]:
        """The part that makes the inputs of members, if there is one, and what the networks then
        read."""
        if self.num_members == 1:
            return [], list(groups)
        made = part_of(MEMBERS, self.member_inputs, groups)
        width = self.member_inputs.vectors.shape[1]
        return [replace(made, gives=f"{self.num_members} x (B, {width})")], [MEMBERS]

    def ends(self) -> Sequence[str]:
        """The names of those parts that the towers read; of the groups, without parts."""
        names = [part.name for part in self.parts() if part.name != MEMBERS]
        return names or [f"group {name}" for name in self.groups]

    def ends_of(self, tower: int) -> Sequence[str]:
        """The ends that tower number ``tower`` reads."""
        return self.ends()

    def order(self, names: Sequence[str]) -> list[str]:
        """The towers, each after those it reads. Raises ConfigError if there is no such order."""
        unknown = {name for read in self.reads.values() for name in read} - set(names)
        if unknown:
            words = f"a tower reads {', '.join(sorted(unknown))}; choose from {', '.join(names)}"
            raise ConfigError.at("", words)
        try:
            before = {name: self.reads.get(name, ()) for name in names}
            return list(TopologicalSorter(before).static_order())
        except CycleError as error:
            ring = " <- ".join(error.args[1])
            raise ConfigError.at(
                "", f"towers read each other in a ring: {ring}; remove one"
            ) from error


class Selection(Body):
    """A body that gives the inputs of some of another's towers, those at the places ``kept``."""

    def __init__(self, body: Body, kept: Sequence[int]) -> None:
        super().__init__()
        self.body, self.kept, self.num_members = body, list(kept), body.num_members
        self.out_features = [body.out_features[place] for place in kept]

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        hidden, addends, further = self.body(inputs)
        if addends is not None:
            addends = [addends[place] for place in self.kept]
        return TowerInputs([hidden[place] for place in self.kept], addends, further)


def only_group(groups: Mapping[str, Group], model: str) -> str:
    """The only feature group, or the one named ``all``, or the first; warns of unused ones."""
    names = list(groups)
    chosen = "all" if "all" in names else names[0]
    if len(names) > 1:
        unused = ", ".join(name for name in names if name != chosen)
        log.warning("%s reads the feature group %r only, not: %s", model, chosen, unused)
    return chosen
