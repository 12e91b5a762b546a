"""Inputs joined along an axis, or multiplied over one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_layers.axes import Shape, axis_of, text
from tzmmoe.nn.shapes import check_count

SMALLEST_SQUARE = 1e-12  # of a length that is divided by


class Concatenate(nn.Module):
    """Inputs one after the other along ``axis``; of the other axes they share the sizes."""

    def __init__(self, shapes: Sequence[Shape], *, axis: int) -> None:
        super().__init__()
        check_count(shapes, 2, "a list of 2 or more")
        self.axis = axis_of("axis", axis, shapes[0])
        rest = [self._rest(shape) for shape in shapes]
        for index, shape in enumerate(shapes):
            if len(shape) != len(shapes[0]) or rest[index] != rest[0]:
                words = f"gets (B, {text(shapes[0])}) and, as inputs[{index}], (B, {text(shape)})"
                raise ConfigError.saying(f"{words}; sizes may differ along axis {self.axis} alone")

    def _rest(self, shape: Shape) -> list[int]:
        return [size for axis, size in enumerate(shape, start=1) if axis != self.axis]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """N inputs (B, ...) -> (B, ...)."""
        return torch.cat(list(inputs), dim=self.axis)


class Dot(nn.Module):
    """The products of two inputs, summed over one axis of each: ``axes`` is that of both, or one
    for each. ``normalize``: of vectors of length 1 along these axes, so that it is the cosine.

    Its shape is what is left of the first input's axes, then of the second's; (B, 1) if nothing is.
    """

    def __init__(self, shapes: Sequence[Shape], *, axes: Sequence[int], normalize: bool) -> None:
        super().__init__()
        check_count(shapes, 2, "a list of 2", most=2)
        if len(axes) not in (1, 2):
            raise ConfigError.at("axes", f"is {list(axes)}; give one axis, or one for each input")
        pairs = zip(shapes, (axes[0], axes[-1]), strict=True)
        self.axes = [axis_of("axes", axis, shape) for shape, axis in pairs]
        sizes = [shape[axis - 1] for shape, axis in zip(shapes, self.axes, strict=True)]
        if sizes[0] != sizes[1]:
            inputs = f"(B, {text(shapes[0])}) and (B, {text(shapes[1])})"
            words = f"is {list(axes)}, along which {inputs} have sizes {sizes[0]} and {sizes[1]}"
            raise ConfigError.at("axes", f"{words}; give axes of equal size")
        self.normalize, self.equation = normalize, self._equation(*map(len, shapes))

    def _equation(self, *ranks: int) -> str:
        """Axis 0 of both is b, the one summed over z."""
        letters = iter("acdefghijklmnopqrstuvwxy")
        names = [
            ["z" if axis == own else next(letters) for axis in range(1, rank + 1)]
            for rank, own in zip(ranks, self.axes, strict=True)
        ]
        left = "".join(letter for name in names for letter in name if letter != "z")
        return f"b{''.join(names[0])},b{''.join(names[1])}->b{left}"

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Two inputs (B, ...) -> (B, 1) or (B, ...)."""
        pair = list(inputs)
        if self.normalize:
            pair = [self._unit(x, axis) for x, axis in zip(pair, self.axes, strict=True)]
        y = torch.einsum(self.equation, *pair)
        return y.unsqueeze(1) if y.dim() == 1 else y

    def _unit(self, x: Tensor, axis: int) -> Tensor:
        squares = x.square().sum(dim=axis, keepdim=True)
        return x * squares.clamp(min=SMALLEST_SQUARE).rsqrt()
