"""Keras's initial values, for the layers that this package shares with it."""

import torch
from torch import nn

from tzmmoe.nn.initializers import initialize
from tzmmoe.nn.mlp import StackedLinear
from tzmmoe.nn.norms import BatchNorm

EPSILON, MOMENTUM = 1e-3, 0.99  # of its BatchNormalization; EPSILON of its LayerNormalization too


@torch.no_grad()
def start_as_keras(module: nn.Module, initializer: str = "glorot_uniform") -> None:
    """Initialize kernels by one of ``initializers.INITIALIZERS``, biases by 0; give batch norm
    Keras's epsilon and momentum. Raises ConfigError without a path."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, StackedLinear)):
            kernels = part.weight if isinstance(part, StackedLinear) else [part.weight]
            for kernel in kernels:
                initialize(kernel.mT, initializer)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, BatchNorm):
            part.eps, part.momentum = (
                EPSILON,
                1 - MOMENTUM,
            )  # torch counts the share of the new value


def dense(in_features: int, out_features: int, *, bias: bool, initializer: str) -> nn.Linear:
    """A linear map that starts as Keras's Dense: its kernel by ``initializer``, its bias 0."""
    linear = nn.Linear(in_features, out_features, bias=bias)
    start_as_keras(linear, initializer)
    return linear


def layer_norm(width: int) -> nn.LayerNorm:
    """Layer norm over the last axis with Keras's epsilon."""
    return nn.LayerNorm(width, eps=EPSILON)
