"""Values of blocks that are outputs of the model, in addition to those of its towers."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.models.backbone.flow import Value, shape
from tzmmoe.models.backbone.steps import unknown


@dataclass(frozen=True)
class Output:
    """The value of a ``block``; that after its ``layer``, or an ``element`` of its list, if set."""

    name: str
    block: str
    layer: int | None = None
    element: int | None = None

    @classmethod
    def of(cls, name: str, blocks: Mapping[str, Mapping[str, Any]]) -> "Output":
        """From the name of a block. ``deep_l1`` names the value of the block ``deep`` after its
        layer 1, and ``deep_1`` names element 1 of its list.

        Raises ConfigError if there is no such block or layer.
        """
        if name in blocks:
            return cls(name, name)
        parts = re.fullmatch(r"(.+)_(l?)(\d+)", name)
        block, place = (parts[1], int(parts[3])) if parts else ("", 0)
        if block not in blocks:
            raise ConfigError.saying(unknown(name, list(blocks), "a block"))
        if not parts[2]:
            return cls(name, block, element=place)
        if place >= len(blocks[block]["layers"]):
            count = len(blocks[block]["layers"])
            words = f"{name!r} names layer {place} of block {block!r}, which has {count} in layers"
            last = f" or {block}_l0 to {block}_l{count - 1}" if count else ""
            raise ConfigError.saying(f"{words}; write {block}{last}")
        return cls(name, block, layer=place)

    def read(self, results: Mapping[str, Value]) -> Value:
        """Its value, from those of ``Graph.results``."""
        value = self._whole(results)
        return value if self.element is None else value[self.element]

    def _whole(self, results: Mapping[str, Value]) -> Value:
        return results[self.block if self.layer is None else self.name]

    def width(self, results: Mapping[str, Value]) -> int:
        """D of its (B, D). Raises ConfigError for anything else."""
        value = self._whole(results)
        if self.element is not None and (isinstance(value, Tensor) or self.element >= len(value)):
            words = f"{self.name!r} names element {self.element} of block {self.block!r}, which"
            raise ConfigError.saying(f"{words} gives {shape(value)}")
        value = self.read(results)
        if not isinstance(value, Tensor):
            words = f"{self.name!r} is {shape(value)}, but an output is one tensor; write"
            raise ConfigError.saying(f'{words} "{self.name}_0" for the first of the list')
        if value.dim() != 2:
            words = f"{self.name!r} is {shape(value)}, but an output is (B, D)"
            raise ConfigError.saying(f"{words}; add a Flatten layer")
        return value.shape[1]


def read_off(outputs: Sequence[Output], results: Mapping[str, Value]) -> dict[str, Tensor]:
    """{output: (B, D), or (B,) where D is 1}, in float32."""
    values = {output.name: output.read(results).float() for output in outputs}
    return {name: value.squeeze(1) for name, value in values.items()}


def layers_of(outputs: Collection[Output], block: str) -> dict[str, int]:
    """{output: number of the layer} of a block whose layers have outputs."""
    return {o.name: o.layer for o in outputs if o.block == block and o.layer is not None}
