"""Batch and layer norm over any axes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError, exactly
from tzmmoe.nn.keras_layers.axes import Shape, axes_of, axis_of, back, last
from tzmmoe.nn.norms import BatchNorm


class BatchNormalization(nn.Module):
    """Batch norm of the C places along ``axis``; all other axes count as rows.

    ``momentum`` is the share of the old statistics that stays. ``center`` adds a learned shift,
    ``scale`` multiplies by a learned scale.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        axis: int,
        momentum: float,
        epsilon: float,
        center: bool,
        scale: bool,
    ) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ConfigError.at("momentum", f"is {exactly(momentum)}; give 0 to 1")
        _check(epsilon)
        self.axis = axis_of("axis", axis, shape)
        channels = shape[self.axis - 1]
        self.norm = BatchNorm(channels, affine=False)
        self.norm.eps, self.norm.momentum = epsilon, 1 - momentum
        self.weight = nn.Parameter(torch.ones(channels)) if scale else None
        self.bias = nn.Parameter(torch.zeros(channels)) if center else None

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape, (B, ...)."""
        moved = last(x, [self.axis])
        y = self.norm(moved.reshape(-1, moved.shape[-1]))
        y = y if self.weight is None else y * self.weight
        y = y if self.bias is None else y + self.bias
        return back(y.reshape(moved.shape), [self.axis])


class LayerNormalization(nn.Module):
    """Layer norm over ``axis``, one or several, of each row. ``center`` adds a learned shift,
    ``scale`` multiplies by a learned scale, both of the axes' sizes."""

    def __init__(
        self, shape: Shape, *, axis: Sequence[int], epsilon: float, center: bool, scale: bool
    ) -> None:
        super().__init__()
        _check(epsilon)
        self.axes, self.epsilon = axes_of("axis", axis, shape), epsilon
        self.sizes = [shape[axis - 1] for axis in self.axes]
        self.weight = nn.Parameter(torch.ones(self.sizes)) if scale else None
        self.bias = nn.Parameter(torch.zeros(self.sizes)) if center else None

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape, (B, ...)."""
        moved = last(x, self.axes)
        normed = F.layer_norm(moved, self.sizes, self.weight, self.bias, self.epsilon)
        return back(normed, self.axes)


def _check(epsilon: float) -> None:
    if not epsilon > 0:
        raise ConfigError.at("epsilon", f"is {exactly(epsilon)}; give more than 0")
