"""What the lambdas of tests are given, and their text as a config has it."""

from collections.abc import Callable

import parts
from torch import Tensor

from tzmmoe.models.backbone.expressions.lambdas import Expression, parse_lambda

ROWS = 3
# What x is: a tensor of positive numbers (so that roots and logarithms exist), one with three axes,
# a list of tensors, or a list of three axes.
SHAPES = {"flat": (6,), "deep": (4, 5), "list": [(6,), (6,), (6,)], "pair": [(4, 5), (5, 4)]}


def inputs(kind: str, rows: int = ROWS, device: str = "cpu") -> Tensor | list[Tensor]:
    shapes = SHAPES[kind] if isinstance(SHAPES[kind], list) else [SHAPES[kind]]
    tensors = [parts.normal(rows, *s, seed=n).abs().to(device) for n, s in enumerate(shapes)]
    return tensors if isinstance(SHAPES[kind], list) else tensors[0]


def leaves(value: Tensor | list | tuple) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [leaf for v in value for leaf in leaves(v)]


def mapped(function: Callable, value: Tensor | list | tuple) -> object:
    if isinstance(value, list | tuple):
        return type(value)(mapped(function, item) for item in value)
    return function(value)


def lambda_of(body: str) -> Expression:
    return parse_lambda(f"lambda x: {body}")
