"""Formulas of a config, such as ``log(x + 1)``, on arrays. Nothing of Python runs but these."""

import ast
import operator
from collections.abc import Callable

import numpy as np

from tzmmoe.errors import ConfigError, did_you_mean

FUNCTIONS: dict[str, tuple[int, Callable]] = {  # name: (number of arguments, function)
    "abs": (1, np.abs),
    "sign": (1, np.sign),
    "sqrt": (1, np.sqrt),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "ln": (1, np.log),
    "log1p": (1, np.log1p),
    "log2": (1, np.log2),
    "log10": (1, np.log10),
    "floor": (1, np.floor),
    "ceil": (1, np.ceil),
    "round": (1, np.round),
    "sin": (1, np.sin),
    "cos": (1, np.cos),
    "tanh": (1, np.tanh),
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
DEPTH = 50

Formula = Callable[[np.ndarray], np.ndarray]


def formula(text: str, variable: str = "x") -> Formula:
    """The function of one variable that a text describes.

    Raises:
        ConfigError: anything but numbers, the variable, + - * / % ^ **, comparisons (1 or 0),
            ``a if c else b`` and FUNCTIONS.
    """
    try:
        # x ^ 2, as formulas are often written; Python's own ^ would bind less than +.
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        return _compile(tree, variable, DEPTH)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        what = str(error) or "is nested too deeply"
        raise ConfigError.at("expression", f"{text!r}: {what}") from error


def _compile(node: ast.AST, variable: str, depth: int) -> Formula:
    if depth == 0:
        raise ValueError("is nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            number = float(value)
            return lambda x: np.full_like(x, number)
        case ast.Name(id=name):
            if name != variable:
                raise ValueError(f"no variable {name!r}; there is only {variable!r}")
            return lambda x: x
        case ast.UnaryOp(op=op, operand=operand):
            return _apply(_operator(op), [operand], variable, depth)
        case ast.BinOp(left=left, op=op, right=right):
            return _apply(_operator(op), [left, right], variable, depth)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            compared = _apply(_operator(op), [left, right], variable, depth)
            return lambda x: compared(x).astype(np.float64)
        case ast.IfExp(test=test, body=body, orelse=other):
            return _apply(
                lambda c, a, b: np.where(c != 0, a, b), [test, body, other], variable, depth
            )
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            count, function = FUNCTIONS.get(name, (0, None))
            if function is None:
                raise ValueError(f"no function {name!r}{did_you_mean(name, FUNCTIONS)}")
            if len(arguments) != count:
                raise ValueError(f"{name} takes {count} arguments, not {len(arguments)}")
            return _apply(function, arguments, variable, depth)
    raise ValueError(f"{ast.unparse(node)!r} is not allowed")


def _operator(op: ast.AST) -> Callable:
    if type(op) not in OPERATORS:
        raise ValueError(f"the operator {type(op).__name__} is not allowed")
    return OPERATORS[type(op)]


def _apply(function: Callable, nodes: list[ast.expr], variable: str, depth: int) -> Formula:
    parts = [_compile(node, variable, depth - 1) for node in nodes]
    return lambda x: function(*(part(x) for part in parts))
