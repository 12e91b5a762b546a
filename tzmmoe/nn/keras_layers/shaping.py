"""The same numbers in another shape, or fewer of them."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_layers.axes import Shape, check_rank, text


class Flatten(nn.Module):
    """All axes behind the rows as one."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, D); (B,) -> (B, 1)."""
        return x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)


class Reshape(nn.Module):
    """(B, *``target_shape``), where one size may be -1: what is left."""

    def __init__(self, shape: Shape, *, target_shape: Sequence[int]) -> None:
        super().__init__()
        sizes, count = list(target_shape), math.prod(shape)
        if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            words = f"is {sizes}; give sizes above 0, at most one of them -1"
            raise ConfigError.at("target_shape", words)
        product = math.prod(size for size in sizes if size != -1)
        if count % product or (-1 not in sizes and count != product):
            words = f"is {sizes}, but the input (B, {text(shape)}) has {count} numbers in each row"
            raise ConfigError.at("target_shape", f"{words}; give sizes of that product")
        self.sizes = [count // product if size == -1 else size for size in sizes]

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.sizes)


class GlobalAveragePooling1D(nn.Module):
    """The mean over the places of a sequence. ``keepdims`` leaves an axis of size 1."""

    def __init__(self, shape: Shape, *, keepdims: bool) -> None:
        super().__init__()
        check_rank(shape, 3, "(B, L, D)")
        self.keepdims = keepdims

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, D), or (B, 1, D)."""
        return x_BLD.mean(dim=1, keepdim=self.keepdims)


class GlobalMaxPool1D(nn.Module):
    """The maximum over the places of a sequence. ``keepdims`` leaves an axis of size 1."""

    def __init__(self, shape: Shape, *, keepdims: bool) -> None:
        super().__init__()
        check_rank(shape, 3, "(B, L, D)")
        self.keepdims = keepdims

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, D), or (B, 1, D)."""
        return x_BLD.amax(dim=1, keepdim=self.keepdims)
