"""Keras 3's constraints by name: projections of a weight after an optimizer's step.

Formulas: https://keras.io/api/layers/constraints. ``axis`` is of Keras's kernel (inputs, outputs),
so that 0 is for the weights that lead into one unit.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_moe.lookup import by_names, check_number, look_up

Constraint = Callable[[Tensor], Tensor]
EPSILON = 1e-7  # keras.config.epsilon()


class NonNeg:
    """Negative weights become 0."""

    def __call__(self, weight: Tensor) -> Tensor:
        return weight.clamp(min=0)


class OfNorm:
    """w f(n) / (n + 1e-7), with n the norm of w along ``axis``, and f as the class says."""

    def __init__(self, axis: int | Sequence[int]) -> None:
        axes = [axis] if isinstance(axis, int) else axis
        if not (isinstance(axes, list | tuple) and axes and all(type(a) is int for a in axes)):
            raise ConfigError.at("config.axis", f"is {axis!r}; give an integer or a list of them")
        self.axes = list(axes)

    def __call__(self, weight: Tensor) -> Tensor:
        places = range(-weight.ndim, weight.ndim)
        if wrong := [axis for axis in self.axes if axis not in places]:
            words = f"is {wrong[0]}, and the weight has the shape {tuple(weight.shape)}"
            raise ConfigError.at("config.axis", f"{words}; give {places[0]} to {places[-1]}")
        norms = weight.square().sum(dim=self.axes, keepdim=True).sqrt()
        return weight * (self.wanted(norms) / (EPSILON + norms))

    def wanted(self, norms: Tensor) -> Tensor:
        """f."""
        raise NotImplementedError


class MinMaxNorm(OfNorm):
    """f(n) = rate times n within the bounds, plus (1 - rate) n."""

    def __init__(
        self,
        *,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: int | Sequence[int] = 0,
    ) -> None:
        super().__init__(axis)
        self.least = check_number("config.min_value", min_value, least=0)
        self.most = check_number("config.max_value", max_value, least=min_value)
        self.rate = check_number("config.rate", rate, least=0, most=1)

    def wanted(self, norms: Tensor) -> Tensor:
        return self.rate * norms.clamp(self.least, self.most) + (1 - self.rate) * norms


class MaxNorm(OfNorm):
    """f(n) = n, at most ``max_value``."""

    def __init__(self, *, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis)
        self.most = check_number("config.max_value", max_value, least=0, most=math.inf)

    def wanted(self, norms: Tensor) -> Tensor:
        return norms.clamp(max=self.most)


class UnitNorm(OfNorm):
    """f(n) = 1."""

    def __init__(self, *, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis)

    def wanted(self, norms: Tensor) -> Tensor:
        return norms.new_ones(())


MAKERS = by_names(MaxNorm, MinMaxNorm, NonNeg, UnitNorm)


def get(identifier: object) -> Constraint | None:
    """As ``keras.constraints.get``; None is none. Raises ConfigError without a path."""
    return look_up(identifier, MAKERS)
