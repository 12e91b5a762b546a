"""Keras's initial values of kernels, by name."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, did_you_mean

SPREAD = 0.05  # of Keras's random_normal, truncated_normal and random_uniform
CUT_SPREAD = 0.87962566103423978  # standard deviation of a normal distribution cut at +-2


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Inputs and outputs of a kernel of Keras's shape (..., inputs, outputs); of a bias both are
    its size.

    Keras counts the leading sizes as a receptive field, even where they number separate kernels.
    """
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _scaled(variance: Callable[[int, int], float], *, normal: bool) -> Callable[[Tensor], None]:
    """A distribution with mean 0 and a variance that depends on the fans."""

    def fill(kernel: Tensor) -> None:
        spread = math.sqrt(variance(*fans(kernel.shape)))
        if normal:
            _cut_normal(kernel, spread / CUT_SPREAD)
        else:
            bound = math.sqrt(3) * spread
            nn.init.uniform_(kernel, -bound, bound)

    return fill


def _cut_normal(kernel: Tensor, spread: float) -> None:
    nn.init.trunc_normal_(kernel, 0.0, spread, -2 * spread, 2 * spread)


VARIANCES: dict[str, Callable[[int, int], float]] = {
    "glorot": lambda inner, outer: 2 / (inner + outer),  # Glorot and Bengio, AISTATS 2010, eq. 16
    "he": lambda inner, outer: 2 / inner,  # He et al., ICCV 2015, eq. 10
    "lecun": lambda inner, outer: 1 / inner,
}
INITIALIZERS: dict[str, Callable[[Tensor], object]] = {
    f"{name}_{shape}": _scaled(variance, normal=shape == "normal")
    for name, variance in VARIANCES.items()
    for shape in ("uniform", "normal")
} | {
    "truncated_normal": lambda kernel: _cut_normal(kernel, SPREAD),
    "random_normal": lambda kernel: nn.init.normal_(kernel, 0.0, SPREAD),
    "random_uniform": lambda kernel: nn.init.uniform_(kernel, -SPREAD, SPREAD),
    "zeros": nn.init.zeros_,
    "ones": nn.init.ones_,
}


@torch.no_grad()
def initialize(kernel: Tensor, name: str) -> None:
    """Fill a kernel of Keras's shape (..., inputs, outputs); for a ``weight`` of torch, give
    ``weight.mT``. Raises ConfigError without a path."""
    if name not in INITIALIZERS:
        words = f"is {name!r}; give one of {', '.join(INITIALIZERS)}"
        raise ConfigError.saying(words + did_you_mean(name, INITIALIZERS))
    INITIALIZERS[name](kernel)
