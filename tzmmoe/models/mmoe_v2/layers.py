"""The layers of MMoE V2's towers and experts, from lists of settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tzmmoe.errors import Faults
from tzmmoe.models.base import TowerSpec
from tzmmoe.models.tower import Tower
from tzmmoe.nn.activations import keras_activation
from tzmmoe.nn.keras import start_as_keras
from tzmmoe.nn.mlp import Layer, Network, check_dropout
from tzmmoe.tables.penalties import Penalty, penalize

T = TypeVar("T")


@dataclass(frozen=True)
class LayerLists:
    """Activations, dropout and batch norm of a network's layers, and the names of these fields."""

    act: Sequence[str]
    dropout: Sequence[float]
    use_bn: Sequence[bool]
    names: tuple[str, str, str]

    def surplus(self, counts: Mapping[str, int]) -> Iterator[str]:
        """A line for each list with more values than layers. ``counts``: layers by field name."""
        for name, values in zip(self.names, (self.act, self.dropout, self.use_bn), strict=True):
            if len(values) > max(counts[name], 1):
                layers = f"{counts[name]} layer" if counts[name] == 1 else f"{counts[name]} layers"
                yield f"mmoe_v2: {name} has {len(values)} values for {layers}; remove the surplus"

    def layers(self, widths: Sequence[int], *, bias: bool) -> list[Layer]:
        """A layer for each width. Raises ConfigError with the fields' names as paths."""
        faults, activations = Faults(), []
        with faults.under(""):
            check_dropout(self.names[1], self.dropout)
        for name in self.act or ["relu"]:
            with faults.under(self.names[0]):
                activations.append(keras_activation(name))
        faults.stop()
        lists = zip(
            widths,
            per_layer(activations, len(widths), ""),
            per_layer(self.dropout or [0.0], len(widths), 0.0),
            per_layer(self.use_bn or [False], len(widths), False),
            strict=True,
        )
        return [
            Layer(width, activation, "batch" if use_bn else "", dropout, bias)
            for width, activation, dropout, use_bn in lists
        ]


def per_layer(values: Sequence[T], count: int, none: T) -> list[T]:
    """A single value for all layers; several, one for each layer from the input on, cut or padded
    with ``none``."""
    if len(values) == 1:
        return [values[0]] * count
    return [*values[:count], *[none] * (count - len(values))]


NAMES = ("hidden_act", "dropout", "use_bn")


@dataclass(frozen=True)
class TaskStructs:
    """Towers by entry of ``structs``, fields of the schema's TaskStruct. An entry's own lists take
    precedence over those of ``shared``."""

    structs: Sequence[Mapping[str, Any]]
    shared: LayerLists
    use_bias: bool
    penalty: Penalty

    def check(self, towers: Sequence[TowerSpec]) -> None:
        """Raise ConfigError unless every tower can be made from its entry alone."""
        faults = Faults()
        for index, tower in enumerate(towers):
            if tower.mlp is not None:
                words = (
                    "has no effect in mmoe_v2, which takes the layers from task_structs; remove it"
                )
                faults.add(f"task_towers[{index}].mlp", words)
        if len(self.structs) != len(towers):
            words = f"has {len(self.structs)} entries for {len(towers)} task_towers"
            faults.add("task_structs", f"{words}; give one for each tower, in order")
            faults.stop()
        for index, struct in enumerate(self.structs):
            units = list(struct["units"])
            if not units or min(units) < 1:
                words = f"is {units}; give widths above 0, the last that of the logits"
                faults.add(f"task_structs[{index}].units", words)
            with faults.under(""):
                self._hidden(index)
        Faults(dict.fromkeys(faults)).stop()  # each task repeats the fault of a shared list

    def surplus(self) -> Iterator[str]:
        """A line for each list that no tower uses up, repeated for each tower that shares it."""
        counts: dict[str, int] = {}
        for index, struct in enumerate(self.structs):
            for name in self._lists(index).names:
                counts[name] = max(counts.get(name, 0), len(struct["units"]) - 1)
        for index in range(len(self.structs)):
            yield from self._lists(index).surplus(counts)

    def _lists(self, index: int) -> LayerLists:
        struct, shared = self.structs[index], self.shared
        lists, names = [], []
        common = (shared.act, shared.dropout, shared.use_bn)
        for name, values, shared_name in zip(NAMES, common, shared.names, strict=True):
            lists.append(struct[name] or values)
            names.append(f"task_structs[{index}].{name}" if struct[name] else shared_name)
        return LayerLists(*lists, names=tuple(names))

    def _hidden(self, index: int) -> list[Layer]:
        widths = self.structs[index]["units"][:-1]
        return self._lists(index).layers(widths, bias=self.use_bias)

    def tower(self, index: int, in_features: int, members: int) -> Tower:
        """The tower of a task."""
        layers, num_class = self._hidden(index), self.structs[index]["units"][-1]
        hidden = Network(in_features, layers, copies=members) if layers else None
        tower = Tower(in_features, num_class, hidden, bias=self.use_bias, members=members)
        start_as_keras(tower)
        penalize(tower, self.penalty.each_of(members))
        return tower
