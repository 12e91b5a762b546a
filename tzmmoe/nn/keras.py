"""Keras's initial values, for the layers that this package shares with it."""

import torch
from torch import nn

from tzmmoe.nn.mlp import StackedLinear
from tzmmoe.nn.norms import BatchNorm

EPSILON, MOMENTUM = 1e-3, 0.99  # of its BatchNormalization


@torch.no_grad()
def start_as_keras(module: nn.Module) -> None:
    """Initialize kernels by glorot_uniform (Glorot and Bengio, AISTATS 2010, eq. 16), biases by 0;
    give batch norm Keras's epsilon and momentum."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, StackedLinear)):
            kernels = part.weight if isinstance(part, StackedLinear) else [part.weight]
            for kernel in kernels:
                nn.init.xavier_uniform_(kernel)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, BatchNorm):
            part.eps, part.momentum = (
                EPSILON,
                1 - MOMENTUM,
            )  # torch counts the share of the new value
