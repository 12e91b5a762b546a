"""Activations that Keras has as layers, with settings of their own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError, exactly, within
from tzmmoe.nn.initializers import initialize
from tzmmoe.nn.keras_layers.axes import Shape, axes_of, axis_of


class ReLU(nn.Module):
    """x from ``threshold`` on, at most ``max_value``; below it ``negative_slope`` times what x
    lies under it."""

    def __init__(self, *, max_value: float | None, negative_slope: float, threshold: float) -> None:
        super().__init__()
        settings = {
            "max_value": max_value or 0.0,
            "negative_slope": negative_slope,
            "threshold": threshold,
        }
        for field, value in settings.items():
            if not value >= 0:
                raise ConfigError.at(field, f"is {exactly(value)}; give 0 or more")
        self.max_value, self.slope, self.threshold = max_value, negative_slope, threshold

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape."""
        y = torch.where(x >= self.threshold, x, self.slope * (x - self.threshold))
        return y if self.max_value is None else y.clamp(max=self.max_value)


class LeakyReLU(nn.Module):
    """x where positive, ``alpha`` x elsewhere."""

    def __init__(self, *, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape."""
        return F.leaky_relu(x, self.alpha)


class PReLU(nn.Module):
    """x where positive, a x elsewhere; a is learned for each place but along ``shared_axes``."""

    def __init__(self, shape: Shape, *, alpha_initializer: str, shared_axes: Sequence[int]) -> None:
        super().__init__()
        shared = axes_of("shared_axes", shared_axes, shape) if shared_axes else []
        sizes = [1 if axis in shared else size for axis, size in enumerate(shape, start=1)]
        self.alpha = nn.Parameter(torch.empty(sizes))
        with within("alpha_initializer"):
            initialize(self.alpha.unsqueeze(0), alpha_initializer)

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape, (B, ...)."""
        return torch.where(x > 0, x, self.alpha * x)


class ELU(nn.Module):
    """x where positive, ``alpha`` (exp x - 1) elsewhere."""

    def __init__(self, *, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape."""
        return F.elu(x, self.alpha)


class Softmax(nn.Module):
    """exp x over its sum along ``axis``, or along several at once."""

    def __init__(self, shape: Shape, *, axis: Sequence[int]) -> None:
        super().__init__()
        self.axes = axes_of("axis", axis, shape)
        self.axis = axis_of("axis", axis[0], shape)

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape, (B, ...)."""
        if len(self.axes) == 1:
            return x.softmax(dim=self.axis)
        return (x - x.logsumexp(dim=self.axes, keepdim=True)).exp()
