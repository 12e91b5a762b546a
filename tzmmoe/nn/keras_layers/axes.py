"""Axes as Keras counts them: axis 0 is that of the rows."""

from collections.abc import Sequence

from torch import Tensor

from tzmmoe.errors import ConfigError

Shape = Sequence[int]  # of an input, without its rows


def axis_of(field: str, axis: int, shape: Shape) -> int:
    """The axis counted from 0, for an input (B, *shape). Raises ConfigError for that of the rows
    and for one that the input lacks."""
    rank = len(shape) + 1
    own = axis + rank if axis < 0 else axis
    if not 1 <= own < rank:
        words = f"is {axis}, but the input (B, {text(shape)}) has axes 1 to {rank - 1} behind the"
        raise ConfigError.at(field, f"{words} rows; give one of those, or {1 - rank} to -1")
    return own


def axes_of(field: str, axes: Sequence[int], shape: Shape) -> list[int]:
    """Several axes, counted from 0 and in order."""
    if not axes:
        raise ConfigError.at(field, "is empty; give one axis or more")
    own = sorted(axis_of(field, axis, shape) for axis in axes)
    if len(set(own)) < len(own):
        raise ConfigError.at(field, f"is {list(axes)}, which lists an axis twice; remove one")
    return own


def text(shape: Shape) -> str:
    return ", ".join(map(str, shape))


def check_rank(shape: Shape, rank: int, needs: str) -> None:
    """Raise ConfigError unless an input (B, *shape) has so many axes."""
    if len(shape) + 1 != rank:
        raise ConfigError.saying(f"gets (B, {text(shape)}); it needs {needs}")


def last(x: Tensor, axes: Sequence[int]) -> Tensor:
    """The input with these axes moved to its end, in their order."""
    return x.permute(_order(x.dim(), axes))


def back(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Undoes ``last``."""
    order = _order(x.dim(), axes)
    return x.permute([order.index(axis) for axis in range(x.dim())])


def _order(rank: int, axes: Sequence[int]) -> list[int]:
    """Of the axes after ``last``."""
    return [*(axis for axis in range(rank) if axis not in axes), *axes]
