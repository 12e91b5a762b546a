"""A raw_feature's normalizer: text such as ``method=minmax,min=0,max=9`` -> a function."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tzmmoe.errors import ConfigError, did_you_mean, exactly
from tzmmoe.features.forms import parse_number

# Each with its number of arguments.
FUNCTIONS: dict[str, tuple[int, Callable]] = {
    **{
        name: (1, getattr(np, name))
        for name in (
            *("abs", "sign", "sqrt", "exp", "log", "log1p", "log2", "log10"),
            *("floor", "ceil", "round", "sin", "cos", "tanh"),
        )
    },
    "ln": (1, np.log),
    "sigmoid": (1, lambda x: 0.5 * (1 + np.tanh(0.5 * x))),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
    "pow": (2, np.power),
    "clip": (3, np.clip),
}
OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
DEPTH = 50  # of a formula's nesting
# Of each method, the arguments with their defaults; None where there is no default.
METHODS: dict[str, dict[str, float | None]] = {
    "log10": {"threshold": 1e-10, "default": -10.0},
    "zscore": {"mean": None, "standard_deviation": None},
    "minmax": {"min": None, "max": None},
}

Formula = Callable[[np.ndarray], np.ndarray]


def normalizer(text: str) -> Formula:
    """The function that a normalizer's text describes. Raises ConfigError."""
    try:
        return _parsed(text)
    except ValueError as error:
        raise ConfigError.at("normalizer", f"is {text!r}: {error}") from error


def canonical(text: str) -> tuple[str, object]:
    """Method and arguments, or formula, the same for texts that describe the same; of a text that
    describes nothing, the text."""
    head, _, rest = text.partition(",")
    method = head.partition("=")[2].strip()
    try:
        if method != "expression":
            return method, tuple(sorted(_arguments(rest, METHODS[method]).items()))
        tree = ast.parse(rest.partition("=")[2].strip().replace("^", "**"), mode="eval")
        return method, ast.dump(tree)
    except (ValueError, KeyError, SyntaxError, RecursionError, MemoryError):
        return "", text


def _parsed(text: str) -> Formula:
    head, _, rest = text.partition(",")
    key, _, method = (part.strip() for part in head.partition("="))
    if key != "method":
        raise ValueError("must begin with method=")
    if method == "expression":
        key, equals, expression = rest.partition("=")
        if key.strip() != "expr" or not equals:
            raise ValueError("give the formula as expr=")
        return formula(expression)
    if method not in METHODS:
        methods = [*METHODS, "expression"]
        hint = did_you_mean(method, methods)
        raise ValueError(f"no method {method!r}; give one of {', '.join(methods)}{hint}")
    numbers = _arguments(rest, METHODS[method])
    if method == "log10":
        return Log10(numbers["threshold"], numbers["default"])
    if method == "zscore":
        return _scaled(numbers["mean"], numbers["standard_deviation"])
    return _scaled(numbers["min"], numbers["max"] - numbers["min"])


def _arguments(text: str, defaults: Mapping[str, float | None]) -> dict[str, float]:
    arguments = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, value = (word.strip() for word in part.partition("=")[::2])
        if name not in defaults:
            raise ValueError(f"no argument {name!r}{did_you_mean(name, defaults)}")
        if name in arguments:
            raise ValueError(f"{name} is set twice; remove one")
        arguments[name] = parse_number(value)
        if arguments[name] is None or not math.isfinite(arguments[name]):
            raise ValueError(f"{value!r} is not a finite number")
    missing = [name for name, value in {**defaults, **arguments}.items() if value is None]
    if missing:
        raise ValueError(f"add {' and '.join(missing)}")
    return {**defaults, **arguments}


def _scaled(shift: float, scale: float) -> Formula:
    if not scale > 0:
        raise ValueError(f"would divide by {exactly(scale)}; give a divisor above 0")
    return lambda x: (x - shift) / scale


@dataclass(frozen=True)
class Log10:
    """The logarithm of numbers above ``threshold``, and ``default`` for all others."""

    threshold: float
    default: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        above = x > self.threshold
        return np.where(above, np.log10(x, where=above, out=np.zeros_like(x)), self.default)


def formula(text: str) -> Formula:
    """The function of x that a text describes.

    Raises:
        ValueError: anything but numbers, x, + - * / % ^ **, comparisons (1 or 0),
            ``a if c else b`` and FUNCTIONS.
    """
    try:
        # ^ is a power in formulas, but in Python it binds less tightly than +.
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        return _compile(tree, DEPTH)
    except (SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(str(error) or "is nested too deeply") from error


def _compile(node: ast.AST, depth: int) -> Formula:
    if depth == 0:
        raise ValueError("is nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            number = float(value)
            return lambda x: np.full_like(x, number)
        case ast.Name(id=name):
            if name != "x":
                raise ValueError(f"no variable {name!r}; the only one is x")
            return lambda x: x
        case ast.UnaryOp(op=op, operand=operand):
            return _apply(_operator(op), [operand], depth)
        case ast.BinOp(left=left, op=op, right=right):
            return _apply(_operator(op), [left, right], depth)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            compared = _apply(_operator(op), [left, right], depth)
            return lambda x: compared(x).astype(np.float64)
        case ast.IfExp(test=test, body=body, orelse=other):
            return _apply(lambda c, a, b: np.where(c != 0, a, b), [test, body, other], depth)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            count, function = FUNCTIONS.get(name, (0, None))
            if function is None:
                raise ValueError(f"no function {name!r}{did_you_mean(name, FUNCTIONS)}")
            if len(arguments) != count:
                raise ValueError(f"{name} takes {count} arguments, not {len(arguments)}")
            return _apply(function, arguments, depth)
    raise ValueError(f"{ast.unparse(node)!r} is not allowed")


def _operator(op: ast.AST) -> Callable:
    if type(op) not in OPERATORS:
        raise ValueError(f"the operator {type(op).__name__} is not allowed")
    return OPERATORS[type(op)]


def _apply(function: Callable, nodes: list[ast.expr], depth: int) -> Formula:
    parts = [_compile(node, depth - 1) for node in nodes]
    return lambda x: function(*(part(x) for part in parts))
