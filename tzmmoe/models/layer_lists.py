"""Settings of layers that are given as lists."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tzmmoe.errors import Faults
from tzmmoe.nn.activations import keras_activation
from tzmmoe.nn.mlp import Layer, check_chances

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
