"""Values of a config's expressions: what they may be, and arithmetic that never mixes rows.

Axis 0 of every tensor holds the rows of a batch.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NewType

import torch
from torch import Tensor

Value = Any  # a tensor, a list or tuple of values, a number, None, or a dtype
Tensors = NewType("Tensors", list)
Operand = NewType("Operand", float)
Axis = NewType("Axis", int)
Axes = NewType("Axes", list)
Count = NewType("Count", int)
Sizes = NewType("Sizes", list)
Multiples = NewType("Multiples", list)
Splits = NewType("Splits", list)

LARGEST = 2**63 - 1


class Refused(ValueError):
    """Why a value or an operation is not allowed, and what to write."""


def arithmetic(symbol: str, left: Value, right: Value) -> Value:
    """Of tensors and numbers; ``+`` also appends a list to a list."""
    if symbol == "+" and isinstance(left, list) and isinstance(right, list):
        return left + right
    for value in (left, right):
        _operand("operand", value)
    if not (isinstance(left, Tensor) or isinstance(right, Tensor)):
        return _of_numbers(symbol, left, right)
    same_rank([value for value in (left, right) if isinstance(value, Tensor)])
    if symbol == "//":
        return torch.floor(left / right)  # torch's own has no derivative
    return ARITHMETIC[symbol](left, right)


ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
}


def negative(value: Value) -> Value:
    _operand("operand", value)
    return -value


def described(value: Value) -> str:
    """As a message names it: a tensor by its shape, in which B stands for the rows."""
    if isinstance(value, Tensor):
        return f"a tensor (B, {', '.join(map(str, value.shape[1:]))})".replace(", )", ",)")
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    plain = value is None or isinstance(value, bool | int | float)
    return repr(value) if plain else f"a {type(value).__name__}"


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _of_numbers(symbol: str, left: float, right: float) -> float:
    whole = isinstance(left, int) and isinstance(right, int)
    # Refused before it is computed: 9**9**9 has 370 million digits.
    if symbol == "**" and whole and abs(left) > 1 and right * math.log2(abs(left)) >= 63:
        raise Refused("gives a number of more than 64 bits")
    try:
        value = ARITHMETIC[symbol](left, right)
    except ArithmeticError as error:
        raise Refused(f"cannot be computed: {error}") from error
    check_number(value)
    return value


def check_number(value: Value) -> None:
    if isinstance(value, complex) or not math.isfinite(value):
        raise Refused(f"gives {value!r}; only finite real numbers are allowed")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise Refused("gives a number of more than 64 bits")


def same_rank(tensors: Sequence[Tensor]) -> None:
    """Torch aligns shapes at their ends: (B,) with (B, 1) would pair each row with every other."""
    if len({tensor.dim() for tensor in tensors}) > 1:
        shapes = " and ".join(map(described, tensors))
        raise Refused(
            f"combines {shapes}, which would mix rows; give them as many axes with "
            "keepdims=True or tf.expand_dims(x, axis=1)"
        )


def same_shape(tensors: Sequence[Tensor]) -> None:
    same_rank(tensors)
    for tensor in tensors[1:]:
        if tensor.shape[1:] != tensors[0].shape[1:]:
            raise Refused(
                f"needs tensors of one shape, but gets {described(tensors[0])} and "
                f"{described(tensor)}"
            )


# Checks of a value by itself: of a constant when the text is parsed, of all when it is evaluated.


def check_tensor(name: str, value: Value) -> None:
    if isinstance(value, list | tuple):
        raise Refused(
            f"{name} is {described(value)}; give one tensor, such as x[0], tf.concat(x, axis=1) "
            "or tf.add_n(x)"
        )
    if not isinstance(value, Tensor):
        raise Refused(f"{name} is {described(value)}; give a tensor")


def _tensors(name: str, value: Value) -> None:
    if isinstance(value, Tensor):
        raise Refused(f"{name} is {described(value)}; give a list of tensors, such as [x, x]")
    if not isinstance(value, list | tuple) or not value:
        raise Refused(f"{name} is {described(value)}; give a list of tensors")
    for i, item in enumerate(value):
        if not isinstance(item, Tensor):
            raise Refused(f"{name}[{i}] is {described(item)}; give a tensor")


def _operand(name: str, value: Value) -> None:
    if not (isinstance(value, Tensor) or is_number(value)):
        raise Refused(f"{name} is {described(value)}; give a tensor or a number")


def _axis(name: str, value: Value) -> None:
    if value is None:
        raise Refused(f"without {name} it would mix rows; write {name}=1 or another axis")
    if not is_whole(value):
        raise Refused(f"{name} is {described(value)}; give a whole number, such as 1")
    if value == 0:
        raise Refused(f"{name} is 0, the axis of the rows, which would mix them; write {name}=1")


def _axes(name: str, value: Value) -> None:
    if isinstance(value, list | tuple) and not value:
        raise Refused(f"{name} is an empty list; write {name}=1 or another axis")
    for axis in value if isinstance(value, list | tuple) else [value]:
        _axis(name, axis)


def _flag(name: str, value: Value) -> None:
    if not isinstance(value, bool):
        raise Refused(f"{name} is {described(value)}; write True or False")


def _count(name: str, value: Value) -> None:
    if value is not None and not (is_whole(value) and value > 0):
        raise Refused(f"{name} is {described(value)}; give a whole number of at least 1")


def _whole_numbers(name: str, value: Value, example: str) -> None:
    if not isinstance(value, list | tuple) or not value or not all(map(is_whole, value)):
        raise Refused(f"{name} must be a list of whole numbers, such as {example}")


def _sizes(name: str, value: Value) -> None:
    _whole_numbers(name, value, "[-1, 26, 16]")
    if value[0] != -1:
        raise Refused(f"{name} begins with {value[0]}; write -1 first, which keeps the rows")
    if min(value[1:], default=1) < 1:
        raise Refused(f"{name} is {list(value)}; only the first size, of the rows, may be -1")


def _multiples(name: str, value: Value) -> None:
    _whole_numbers(name, value, "[1, 2]")
    if value[0] != 1:
        raise Refused(f"{name} begins with {value[0]}; write 1 first, which keeps the rows")
    if min(value) < 1:
        raise Refused(f"{name} is {list(value)}; give numbers of at least 1")


def _splits(name: str, value: Value) -> None:
    if not isinstance(value, list | tuple):
        _count(name, 0 if value is None else value)
        return
    _whole_numbers(name, value, "[4, 12]")
    if min(value) < -1 or list(value).count(-1) > 1:
        raise Refused(f"{name} is {list(value)}; give sizes, of which one may be -1")


def _dtype(name: str, value: Value) -> None:
    if not isinstance(value, torch.dtype):
        raise Refused(f"{name} is {described(value)}; write tf.float32")


CHECKS: dict[object, Callable[[str, Value], None]] = {
    Tensor: check_tensor,
    Tensors: _tensors,
    Operand: _operand,
    Axis: _axis,
    Axes: _axes,
    bool: _flag,
    Count: _count,
    Sizes: _sizes,
    Multiples: _multiples,
    Splits: _splits,
    torch.dtype: _dtype,
}
