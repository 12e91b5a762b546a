"""Functions that an expression of a config may call, under the names of TensorFlow and torch.

None mixes rows, which lie along axis 0 of every tensor: a row's result is the same in any batch.
Axes count as in TensorFlow, the rows' axis included.
"""

import inspect
import math
import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor

from tzmmoe.errors import did_you_mean
from tzmmoe.models.backbone.expressions.operands import (
    CHECKS,
    Axes,
    Axis,
    Count,
    Multiples,
    Operand,
    Refused,
    Sizes,
    Splits,
    Tensors,
    Value,
    arithmetic,
    check_tensor,
    described,
    same_rank,
    same_shape,
)

T = TypeVar("T")

DTYPES = {
    f"{library}.{name}": getattr(torch, name)
    for library in ("tf", "torch")
    for name in ("float32", "float64", "int32", "int64")
}


@dataclass(frozen=True)
class Function:
    """``parameters``: name -> how its value is checked, and the default if it has one."""

    run: Callable[..., Value]
    parameters: dict[str, inspect.Parameter]

    def bound(
        self, positional: Sequence[T], keywords: Sequence[tuple[str | None, T]]
    ) -> dict[str, T]:
        """The arguments of a call by the names of the parameters. A keyword of None is ``**``."""
        words = [*self.parameters]
        takes = ", ".join(words)
        if len(positional) > len(words):
            raise Refused(f"has {len(positional)} arguments; it takes {takes}")
        written = dict(zip(words, positional, strict=False))
        for word, value in keywords:
            if word is None:
                raise Refused("has stars; write each argument out")
            if word not in words:
                raise Refused(
                    f"has no argument {word!r}{did_you_mean(word, words)}; it takes {takes}"
                )
            if word in written:
                raise Refused(f"has the argument {word!r} twice; remove one")
            written[word] = value
        return written

    def defaults(self, written: Collection[str]) -> dict[str, Value]:
        """Of the arguments that are not written; checked, as some defaults would mix rows."""
        defaults = {}
        for word, parameter in self.parameters.items():
            if word in written:
                continue
            if parameter.default is parameter.empty:
                raise Refused(f"needs the argument {word!r}")
            self.check(word, parameter.default)
            defaults[word] = parameter.default
        return defaults

    def check(self, name: str, value: Value) -> None:
        """Raise Refused for a value that can be seen to be wrong without knowing any tensor."""
        CHECKS[self.parameters[name].annotation](name, value)

    def __call__(self, **values: Value) -> Value:
        return self.run(*(values[name] for name in self.parameters))


def _resolved(axis: int, rank: int) -> int:
    """The axis counted from the front. Raises Refused if that is the rows' or does not exist."""
    found = axis + rank if axis < 0 else axis
    if found == 0:
        raise Refused(
            f"axis {axis} of {rank} is the axis of the rows, which would mix them; write axis=1"
        )
    if not 0 < found < rank:
        raise Refused(f"axis is {axis}, but there are {rank} axes, of which 0 holds the rows")
    return found


def _resolved_all(axes: int | Sequence[int], rank: int) -> list[int]:
    found = [_resolved(axis, rank) for axis in (axes if isinstance(axes, list | tuple) else [axes])]
    if len(set(found)) < len(found):
        raise Refused(f"axis is {list(axes)}, which names an axis twice; remove one")
    return found


# With TensorFlow's names of parameters. An axis of None is refused: without an axis, TensorFlow and
# torch take the rows', or all.


def _elementwise(function: Callable[[Tensor], Tensor]) -> Callable[..., Value]:
    def run(x: Tensor) -> Value:
        return function(x)

    return run


def _binary(symbol: str) -> Callable[..., Value]:
    def run(x: Operand, y: Operand) -> Value:
        return arithmetic(symbol, x, y)

    return run


def _extreme(of_tensors: Callable[[Tensor, Tensor], Tensor], bound: str) -> Callable[..., Value]:
    def run(x: Operand, y: Operand) -> Value:
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            same_rank([x, y])
            return of_tensors(x, y)
        tensor, number = (x, y) if isinstance(x, Tensor) else (y, x)
        check_tensor("y", tensor)
        return torch.clamp(tensor, **{bound: number})

    return run


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Value]:
    def run(input_tensor: Tensor, axis: Axes = None, keepdims: bool = False) -> Value:
        return function(input_tensor, _resolved_all(axis, input_tensor.dim()), keepdims)

    return run


def add_n(inputs: Tensors) -> Tensor:
    same_shape(inputs)
    return reduce(operator.add, inputs)


def concat(values: Tensors, axis: Axis = None) -> Tensor:
    same_rank(values)
    return torch.cat(list(values), _resolved(axis, values[0].dim()))


def stack(values: Tensors, axis: Axis = None) -> Tensor:
    same_shape(values)
    return torch.stack(list(values), _resolved(axis, values[0].dim() + 1))


def unstack(value: Tensor, num: Count = None, axis: Axis = None) -> list[Tensor]:
    axis = _resolved(axis, value.dim())
    if num is not None and value.shape[axis] != num:
        raise Refused(f"num is {num}, but axis {axis} of {described(value)} has another size")
    return list(value.unbind(axis))


def unbind(value: Tensor, axis: Axis = None) -> list[Tensor]:
    return unstack(value, None, axis)


def split(value: Tensor, num_or_size_splits: Splits, axis: Axis = None) -> list[Tensor]:
    """Into so many equal pieces, or into pieces of these sizes; -1 is what the others leave."""
    axis = _resolved(axis, value.dim())
    size, given = value.shape[axis], num_or_size_splits
    if isinstance(given, int):
        if given > size or size % given:
            raise Refused(f"axis {axis} of {described(value)} has no {given} equal pieces")
        return list(value.split(size // given, axis))
    rest = size - sum(piece for piece in given if piece >= 0)
    pieces = [rest if piece < 0 else piece for piece in given]
    if rest < 0 or sum(pieces) != size:
        raise Refused(f"sizes {list(given)} do not add up to axis {axis} of {described(value)}")
    return list(value.split(pieces, axis))


def reshape(tensor: Tensor, shape: Sizes) -> Tensor:
    inner, wanted = math.prod(tensor.shape[1:]), math.prod(shape[1:])
    if inner != wanted:
        raise Refused(
            f"shape {list(shape)} takes {wanted} numbers a row, but {described(tensor)} has {inner}"
        )
    return tensor.reshape(tensor.shape[0], *shape[1:])  # -1 is ambiguous without rows


def expand_dims(input: Tensor, axis: Axis = None) -> Tensor:
    return input.unsqueeze(_resolved(axis, input.dim() + 1))


def squeeze(input: Tensor, axis: Axes = None) -> Tensor:
    axes = _resolved_all(axis, input.dim())
    for one in axes:
        if input.shape[one] != 1:
            raise Refused(f"axis {one} of {described(input)} is not of size 1")
    return input.squeeze(axes)


def tile(input: Tensor, multiples: Multiples) -> Tensor:
    if len(multiples) != input.dim():
        raise Refused(f"multiples has {len(multiples)} numbers for {described(input)}")
    return input.repeat(*multiples)


def softmax(logits: Tensor, axis: Axis = -1) -> Tensor:
    return logits.softmax(_resolved(axis, logits.dim()))


def identity(input: Tensor) -> Tensor:
    return input


def stop_gradient(input: Tensor) -> Tensor:
    return input.detach()


def ones_like(input: Tensor) -> Tensor:
    return torch.ones_like(input)


def zeros_like(input: Tensor) -> Tensor:
    return torch.zeros_like(input)


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype)


def matmul(a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """Of each row's matrices."""
    if not a.dim() == b.dim() == 3:
        raise Refused(
            f"multiplies {described(a)} by {described(b)}, which would mix rows; give two tensors "
            "with 3 axes"
        )
    a, b = (a.transpose(1, 2) if transpose_a else a), (b.transpose(1, 2) if transpose_b else b)
    return a @ b


def _library(
    prefix: str, functions: dict[str, Callable], words: dict[str, str]
) -> dict[str, Function]:
    """Functions under a prefix; ``words`` renames their parameters."""
    library = {}
    for name, run in functions.items():
        parameters = inspect.signature(run).parameters
        renamed = {words.get(word, word): parameter for word, parameter in parameters.items()}
        library[f"{prefix}.{name}"] = Function(run, renamed)
    return library


_SMOOTH = {
    name: _elementwise(getattr(torch, name))
    for name in ("square", "sqrt", "abs", "exp", "log", "sigmoid", "tanh")
}
_PAIRS = {
    "add": _binary("+"),
    "multiply": _binary("*"),
    "subtract": _binary("-"),
    "divide": _binary("/"),
    "maximum": _extreme(torch.maximum, "min"),
    "minimum": _extreme(torch.minimum, "max"),
}
_REDUCTIONS = {
    "sum": _reduction(torch.sum),
    "mean": _reduction(torch.mean),
    "max": _reduction(torch.amax),
    "min": _reduction(torch.amin),
}
_NEURAL = {
    "relu": _elementwise(torch.relu),
    "sigmoid": _SMOOTH["sigmoid"],
    "tanh": _SMOOTH["tanh"],
}
_MATH = {
    **_SMOOTH,
    **_PAIRS,
    **{f"reduce_{name}": function for name, function in _REDUCTIONS.items()},
    "add_n": add_n,
}
_SHAPES = {
    "concat": concat,
    "stack": stack,
    "unstack": unstack,
    "split": split,
    "reshape": reshape,
    "expand_dims": expand_dims,
    "squeeze": squeeze,
    "tile": tile,
    "matmul": matmul,
    "cast": cast,
    "identity": identity,
    "stop_gradient": stop_gradient,
    "ones_like": ones_like,
    "zeros_like": zeros_like,
}
_TORCH = {
    **_SMOOTH,
    "relu": _NEURAL["relu"],
    "softmax": softmax,
    "add": _PAIRS["add"],
    "sub": _PAIRS["subtract"],
    "mul": _PAIRS["multiply"],
    "div": _PAIRS["divide"],
    "sum": _REDUCTIONS["sum"],
    "mean": _REDUCTIONS["mean"],
    "amax": _REDUCTIONS["max"],
    "amin": _REDUCTIONS["min"],
    "cat": concat,
    "stack": stack,
    "unbind": unbind,
    "reshape": reshape,
    "squeeze": squeeze,
    "unsqueeze": expand_dims,
}
_TORCH_WORDS = {
    **dict.fromkeys(("x", "input_tensor", "tensor", "value", "logits"), "input"),
    "y": "other",
    "values": "tensors",
    "axis": "dim",
    "keepdims": "keepdim",
}
FUNCTIONS = {
    **_library("tf", _MATH | _SHAPES, {}),
    **_library("tf.math", _MATH, {}),
    **_library("tf.nn", _NEURAL, {"x": "features"}),
    **_library("tf.nn", {"softmax": softmax}, {}),
    **_library("torch", _TORCH, _TORCH_WORDS),
}


def near(name: str) -> list[str]:
    """Functions of similar names, as ``tf.reduce_sum`` and ``torch.sum`` are to ``np.sum``."""
    last = name.rpartition(".")[2]
    ends = {function: function.rpartition(".")[2] for function in FUNCTIONS}
    close = {last, *get_close_matches(last, {*ends.values()}, n=3)}
    found = [function for function, end in ends.items() if end.removeprefix("reduce_") in close]
    return found + [f for f in get_close_matches(name, ends, n=5) if f not in found]
