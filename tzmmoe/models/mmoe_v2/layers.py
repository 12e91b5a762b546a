"""The towers of MMoE V2, from lists of widths."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tzmmoe.errors import Faults
from tzmmoe.models.base import TowerSpec
from tzmmoe.models.tower import Tower
from tzmmoe.nn.activations import keras_activation
from tzmmoe.nn.keras import start_as_keras
from tzmmoe.nn.mlp import Layer, Network, check_chances
from tzmmoe.tables.penalties import Penalty, penalize

T = TypeVar("T")


@dataclass(frozen=True)
class LayerLists:
    """Activations, chances to drop and batch norm of a network's layers, and the fields' names."""

    act: Sequence[str]
    dropout: Sequence[float]
    use_bn: Sequence[bool]
    names: tuple[str, str, str]

    def surplus(self, counts: Mapping[str, int]) -> Iterator[str]:
        """A line for each list that is longer than there are layers, by the field's name."""
        for name, values in zip(self.names, (self.act, self.dropout, self.use_bn), strict=True):
            if len(values) > max(counts[name], 1):
                layers = f"{counts[name]} layer" if counts[name] == 1 else f"{counts[name]} layers"
                found = f"{len(values)} values for {layers}"
                yield f"mmoe_v2: {name} has {found}; the surplus has no effect"

    def layers(self, widths: Sequence[int], *, bias: bool) -> list[Layer]:
        """One layer for each width. Raises ConfigError by the fields' names."""
        faults, activations = Faults(), []
        with faults.under(""):
            check_chances(self.names[1], self.dropout)
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
    """One value is that of all layers; of several, each is its own layer's from the input on, cut
    or filled up with ``none``."""
    if len(values) == 1:
        return [values[0]] * count
    return [*values[:count], *[none] * (count - len(values))]


NAMES = ("hidden_act", "dropout", "use_bn")


@dataclass(frozen=True)
class TaskStructs:
    """``structs``: fields of the schema's TaskStruct, whose lists go before those of ``shared``."""

    structs: Sequence[Mapping[str, Any]]
    shared: LayerLists
    use_bias: bool
    penalty: Penalty

    def check(self, towers: Sequence[TowerSpec]) -> None:
        """Raise ConfigError unless each of the towers can be made, from its entry alone."""
        faults = Faults()
        for index, tower in enumerate(towers):
            if tower.mlp is not None:
                words = "has no effect in mmoe_v2: task_structs gives the layers; remove it"
                faults.add(f"task_towers[{index}].mlp", words)
        if len(self.structs) != len(towers):
            words = f"has {len(self.structs)} entries for {len(towers)} task_towers"
            faults.add("task_structs", f"{words}; give one for each, in their order")
            faults.stop()
        for index, struct in enumerate(self.structs):
            units = list(struct["units"])
            if not units or min(units) < 1:
                words = f"is {units}; give widths above 0, the last one of the logits"
                faults.add(f"task_structs[{index}].units", words)
            with faults.under(""):
                self._hidden(index)
        Faults(dict.fromkeys(faults)).stop()  # that of a shared list shows at each task

    def surplus(self) -> Iterator[str]:
        """A line for each list, again for each of its towers, that none of them uses up."""
        counts: dict[str, int] = {}
        for index, struct in enumerate(self.structs):
            for name in self._lists(index).names:
                counts[name] = max(counts.get(name, 0), len(struct["units"]) - 1)
        for index in range(len(self.structs)):
            yield from self._lists(index).surplus(counts)

    def _lists(self, index: int) -> LayerLists:
        struct, shared = self.structs[index], self.shared
        own = [struct[name] for name in NAMES]
        names = [f"task_structs[{index}].{name}" for name in NAMES]
        given = (shared.act, shared.dropout, shared.use_bn)
        return LayerLists(
            *(mine or common for mine, common in zip(own, given, strict=True)),
            names=tuple(
                place if mine else common
                for mine, place, common in zip(own, names, shared.names, strict=True)
            ),
        )

    def _hidden(self, index: int) -> list[Layer]:
        widths = self.structs[index]["units"][:-1]
        return self._lists(index).layers(widths, bias=self.use_bias)

    def tower(self, index: int, in_features: int) -> Tower:
        """The tower of a task."""
        layers = self._hidden(index)
        hidden = Network(in_features, layers) if layers else None
        made = Tower(in_features, self.structs[index]["units"][-1], hidden, bias=self.use_bias)
        start_as_keras(made)
        penalize(made, self.penalty)
        return made
