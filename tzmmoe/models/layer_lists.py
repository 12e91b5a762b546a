"""Settings of layers that are given as lists."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tzmmoe.errors import within
from tzmmoe.nn.activations import keras_activation
from tzmmoe.nn.mlp import Layer, check_chances

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class LayerLists:
    """Activations, chances to drop and batch norm of a network's layers, and the fields' names."""

    act: Sequence[str]
    dropout: Sequence[float]
    use_bn: Sequence[bool]
    names: tuple[str, str, str]

    def layers(self, widths: Sequence[int], *, bias: bool) -> list[Layer]:
        """One layer for each width. Raises ConfigError by the field's name."""
        for name, values in zip(self.names, (self.act, self.dropout, self.use_bn), strict=True):
            if len(values) > max(len(widths), 1):
                surplus = f"{len(values)} values for {len(widths)} layers"
                log.warning("mmoe_v2: %s has %s; the surplus has no effect", name, surplus)
        check_chances(self.names[1], self.dropout)
        with within(self.names[0]):
            activations = [keras_activation(name) for name in self.act or ["relu"]]
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
