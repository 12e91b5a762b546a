"""Shapes of a layer's inputs: checks, and what layers do with lists of unequal widths."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError


def check_count(widths: Sequence[int], least: int, needs: str, *, most: int | None = None) -> None:
    """Raise ConfigError unless the number of inputs lies from ``least`` to ``most``."""
    count = len(widths)
    if count < least or (most is not None and count > most):
        got = "1 input" if count == 1 else f"{count} inputs"
        raise ConfigError.saying(f"gets {got}; it needs {needs}")


def check_equal(widths: Sequence[int], needs: str) -> int:
    """The width that all inputs share. Raises ConfigError, which names the first that differs."""
    for index, width in enumerate(widths):
        if width != widths[0]:
            words = f"gets inputs of different widths: inputs[0] has {widths[0]}, inputs[{index}]"
            raise ConfigError.saying(f"{words} has {width}; {needs}")
    return widths[0]


def stacked(fields: Tensor | Sequence[Tensor]) -> Tensor:
    """F fields (B, d), or their stack already, as (B, F, d)."""
    return fields if isinstance(fields, Tensor) else torch.stack(list(fields), dim=1)


def runs(widths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Width and number of fields of each run of equal widths, such as (4, 2) and (8, 1) for
    4, 4, 8. The fields of a run take one call."""
    for width, members in groupby(widths):
        yield width, len(list(members))


def split_runs(x_BD: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """The fields of a concatenation as one (B, fields, width) for each run of equal widths."""
    pairs = list(runs(widths))
    parts = x_BD.split([width * count for width, count in pairs], dim=-1)
    return [
        part.unflatten(-1, (count, width))
        for part, (width, count) in zip(parts, pairs, strict=True)
    ]
