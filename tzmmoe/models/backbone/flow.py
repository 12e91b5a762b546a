"""What runs along the edges of a graph: a tensor, or a list or pair of such."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError

Value = Tensor | Sequence[Any]  # of tensors, or of values again


def tensors(value: Value) -> Iterator[Tensor]:
    """All tensors in it, in order."""
    if isinstance(value, Tensor):
        yield value
    else:
        for part in value:
            yield from tensors(part)


def is_value(value: object) -> bool:
    """Whether it is a tensor, or a list of at least one value."""
    if isinstance(value, list | tuple):
        return bool(value) and all(map(is_value, value))
    return isinstance(value, Tensor)


def shape(value: Value) -> str:
    """``(B, 16)``, ``[17 x (B, 16)]`` or ``[(B, 4), (B, 8)]``."""
    if isinstance(value, Tensor):
        return f"({', '.join(['B', *map(str, value.shape[1:])])})"
    shapes = [shape(part) for part in value]
    if len(shapes) > 1 and len(set(shapes)) == 1:
        return f"[{len(shapes)} x {shapes[0]}]"
    return f"[{', '.join(shapes)}]"


def merged(values: Sequence[Value], axis: int) -> Value:
    """Several values as one: a list of all parts if any of them is a list, or else their
    concatenation."""
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, Tensor) for value in values):
        return torch.cat(list(values), dim=axis)
    return [part for value in values for part in ([value] if isinstance(value, Tensor) else value)]


@dataclass(frozen=True)
class Context:
    """What a graph reads besides its own blocks: the inputs of ``groups``, the results of the
    blocks ``outside`` it, and what a package is used with: its input, and the settings that
    replace those of its input layers, which stand at ``reset_path``; ``reset_key`` tells the uses
    apart."""

    groups: Mapping[str, Tensor]
    outside: Mapping[str, Value] = field(default_factory=dict)
    package_input: Value | None = None
    reset: Mapping[str, Any] | None = None
    reset_key: str = ""
    reset_path: str = ""

    def named(self, name: str) -> Value:
        """A block outside, or else a feature group."""
        return self.outside[name] if name in self.outside else self.groups[name]


def one(value: Value, rank: int | None, needs: str) -> Tensor:
    """The value if it is one tensor, of ``rank`` axes unless that is None. Raises ConfigError."""
    is_one = isinstance(value, Tensor)
    if is_one and (rank is None or value.dim() == rank):
        return value
    remedy = "; join its inputs by input_fn or a Concatenate layer" if not is_one else ""
    raise ConfigError.saying(f"needs {needs}{remedy}")


def several(value: Value, rank: int, needs: str) -> list[Tensor]:
    """The value if it is a list of tensors, each of ``rank`` axes. Raises ConfigError."""
    if not isinstance(value, Tensor):
        parts = list(value)
        if parts and all(isinstance(p, Tensor) and p.dim() == rank for p in parts):
            return parts
    remedy = ""
    if isinstance(value, Tensor):
        remedy = "; set only_output_feature_list in the input_layer that it comes from, or "
        remedy += "merge_inputs_into_list in this block"
    raise ConfigError.saying(f"needs {needs}{remedy}")
