"""Several inputs merged into one, number by number."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_layers.axes import Shape, text
from tzmmoe.nn.shapes import check_count


class _Merge(nn.Module):
    """Inputs with fewer axes get axes of size 1 behind the rows; sizes of 1 are repeated."""

    function: Callable[[Tensor, Tensor], Tensor]
    most: int | None = None

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        check_count(shapes, 2, f"a list of 2{'' if self.most else ' or more'}", most=self.most)
        self.rank = max(map(len, shapes)) + 1
        padded = [[*[1] * (self.rank - 1 - len(shape)), *shape] for shape in shapes]
        whole = [max(sizes) for sizes in zip(*padded, strict=True)]
        for index, shape in enumerate(padded):
            if any(size not in (1, most) for size, most in zip(shape, whole, strict=True)):
                words = f"gets (B, {text(shapes[index])}) as inputs[{index}] for a result of shape"
                raise ConfigError.saying(f"{words} (B, {text(whole)}); give all one shape")

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """N inputs (B, ...) -> (B, ...)."""
        return reduce(self.function, [self._aligned(x) for x in inputs])

    def _aligned(self, x: Tensor) -> Tensor:
        for _ in range(self.rank - x.dim()):
            x = x.unsqueeze(1)
        return x


class Add(_Merge):
    """x_1 + x_2 + ..."""

    function = staticmethod(torch.add)


class Subtract(_Merge):
    """x_1 - x_2."""

    function, most = staticmethod(torch.sub), 2


class Multiply(_Merge):
    """x_1 * x_2 * ..."""

    function = staticmethod(torch.mul)


class Average(Add):
    """(x_1 + x_2 + ...) / N."""

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """N inputs (B, ...) -> (B, ...)."""
        return super().forward(inputs) / len(inputs)


class Maximum(_Merge):
    """The largest of the inputs at each place."""

    function = staticmethod(torch.maximum)


class Minimum(_Merge):
    """The smallest of the inputs at each place."""

    function = staticmethod(torch.minimum)
