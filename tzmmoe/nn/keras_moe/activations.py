"""Keras 3's activations by name, as functions of torch.

Formulas: https://keras.io/api/layers/activations. Without glu, which halves the width, and
threshold, whose arguments have no defaults.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tzmmoe.nn.keras_layers.rectifiers import ELU, LeakyReLU, ReLU
from tzmmoe.nn.keras_moe.lookup import check_number, look_up

Activation = Callable[[Tensor], Tensor]


def relu(x: Tensor) -> Tensor:
    """x where positive, 0 elsewhere."""
    return F.relu(x)


def leaky_relu(x: Tensor) -> Tensor:
    """x where positive, 0.2 x elsewhere."""
    return F.leaky_relu(x, 0.2)


def relu6(x: Tensor) -> Tensor:
    """x, at least 0 and at most 6."""
    return F.relu6(x)


def softmax(x: Tensor) -> Tensor:
    """exp(x) over its sum along the last axis."""
    return x.softmax(dim=-1)


def log_softmax(x: Tensor) -> Tensor:
    """The logarithm of softmax."""
    return x.log_softmax(dim=-1)


def sparsemax(x: Tensor) -> Tensor:
    """The point nearest to x, along the last axis, among those >= 0 with sum 1.

    Martins and Astudillo, "From Softmax to Sparsemax", ICML 2016, algorithm 1.
    """
    falling = x.sort(dim=-1, descending=True).values
    ranks = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    excess = falling.cumsum(dim=-1) - 1
    support = (ranks * falling > excess).sum(dim=-1, keepdim=True)
    return F.relu(x - excess.gather(-1, support - 1) / support)


def elu(x: Tensor) -> Tensor:
    """x where positive, exp(x) - 1 elsewhere."""
    return F.elu(x)


def celu(x: Tensor) -> Tensor:
    """With alpha = 1, the same as elu."""
    return F.celu(x)


def selu(x: Tensor) -> Tensor:
    """Klambauer et al., "Self-Normalizing Neural Networks", NIPS 2017, eq. 2."""
    return F.selu(x)


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function of x."""
    return F.gelu(x)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x)."""
    return F.silu(x)


def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x))."""
    return x * torch.tanh(softplus(x))


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return torch.logaddexp(x, torch.zeros_like(x))  # F.softplus is x from 20 on


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return F.softsign(x)


def squareplus(x: Tensor) -> Tensor:
    """(x + sqrt(x^2 + 4)) / 2."""
    return (x + torch.sqrt(x * x + 4)) / 2


def sparse_plus(x: Tensor) -> Tensor:
    """0 up to -1, x from 1 on, (x + 1)^2 / 4 between."""
    return torch.where(x >= 1, x, (x.clamp(-1, 1) + 1) ** 2 / 4)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


def log_sigmoid(x: Tensor) -> Tensor:
    """The logarithm of sigmoid."""
    return F.logsigmoid(x)


def hard_sigmoid(x: Tensor) -> Tensor:
    """x / 6 + 1/2, at least 0 and at most 1."""
    return F.hardsigmoid(x)


def sparse_sigmoid(x: Tensor) -> Tensor:
    """(x + 1) / 2, at least 0 and at most 1."""
    return ((x + 1) / 2).clamp(0, 1)


def hard_silu(x: Tensor) -> Tensor:
    """x hard_sigmoid(x)."""
    return F.hardswish(x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(x)


def tanh_shrink(x: Tensor) -> Tensor:
    """x - tanh(x)."""
    return F.tanhshrink(x)


def hard_tanh(x: Tensor) -> Tensor:
    """x, at least -1 and at most 1."""
    return F.hardtanh(x)


def soft_shrink(x: Tensor) -> Tensor:
    """x moved by 0.5 towards 0, at most to 0."""
    return F.softshrink(x)


def hard_shrink(x: Tensor) -> Tensor:
    """x beyond +-0.5, 0 between."""
    return F.hardshrink(x)


def exponential(x: Tensor) -> Tensor:
    """exp(x)."""
    return torch.exp(x)


def linear(x: Tensor) -> Tensor:
    """x."""
    return x


# Each acts on every number alone, or along the last axis.
FUNCTIONS: dict[str, Activation] = {
    function.__name__: function
    for function in (
        *(relu, leaky_relu, relu6, softmax, log_softmax, sparsemax, elu, celu, selu, gelu, silu),
        *(mish, softplus, softsign, squareplus, sparse_plus, sigmoid, log_sigmoid, hard_sigmoid),
        *(sparse_sigmoid, hard_silu, tanh, tanh_shrink, hard_tanh, soft_shrink, hard_shrink),
        *(exponential, linear),
    )
} | {"swish": silu, "hard_swish": hard_silu}


def _relu(
    *, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0
) -> ReLU:
    for field, value in (("negative_slope", negative_slope), ("threshold", threshold)):
        check_number(f"config.{field}", value, least=0)
    if max_value is not None:
        check_number("config.max_value", max_value, least=0)
    return ReLU(max_value=max_value, negative_slope=negative_slope, threshold=threshold)


def _leaky_relu(*, negative_slope: float = 0.3) -> LeakyReLU:
    return LeakyReLU(alpha=check_number("config.negative_slope", negative_slope, least=0))


def _elu(*, alpha: float = 1.0) -> ELU:
    return ELU(alpha=check_number("config.alpha", alpha))


# A dict names a function, without settings, or one of Keras's layers.
LAYERS = {"ReLU": _relu, "LeakyReLU": _leaky_relu, "ELU": _elu}


def get(identifier: object) -> Activation:
    """As ``keras.activations.get``: None is linear, a class is called to make a function. Raises
    ConfigError without a path."""
    makers = {name: _maker(function) for name, function in FUNCTIONS.items()}
    if isinstance(identifier, Mapping):
        makers |= LAYERS
    return look_up(identifier, makers) or linear


def _maker(function: Activation) -> Callable[[], Activation]:
    return lambda: function


def acts_along_last_axis(function: Activation) -> bool:
    """Whether it may be applied to several layers' outputs at once, (B, N, U)."""
    return function in FUNCTIONS.values()
