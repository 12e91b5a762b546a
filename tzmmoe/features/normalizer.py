"""``method=zscore,mean=0,standard_deviation=1`` -> a function on numbers."""

import ast
import math
import operator
from collections.abc import Callable

import numpy as np

from tzmmoe.errors import ConfigError, did_you_mean
from tzmmoe.features.forms import parse_number

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


# method: {argument: default}, None when it must be given.
METHODS: dict[str, dict[str, float | None]] = {
    "log10": {"threshold": 1e-10, "default": -10.0},
    "zscore": {"mean": None, "standard_deviation": None},
    "minmax": {"min": None, "max": None},
}


def normalizer(text: str) -> Formula:
    """The function that ``raw_feature.normalizer`` describes. Raises ConfigError."""
    parts = [part.strip() for part in text.split(",", 1)]
    key, _, method = parts[0].partition("=")
    if key.strip() != "method":
        raise ConfigError.at("normalizer", f"{text!r} does not begin with method=")
    rest = parts[1] if len(parts) > 1 else ""
    method = method.strip()
    if method == "expression":
        return _expression(rest, text)
    if method not in METHODS:
        known = [*METHODS, "expression"]
        raise ConfigError.at(
            "normalizer", f"no method {method!r}{did_you_mean(method, known)}; {', '.join(known)}"
        )
    numbers = _arguments(rest, METHODS[method], text)
    if method == "log10":
        return _log10(numbers["threshold"], numbers["default"])
    if method == "zscore":
        return _scaled(numbers["mean"], numbers["standard_deviation"], text)
    return _scaled(numbers["min"], numbers["max"] - numbers["min"], text)


def _expression(rest: str, text: str) -> Formula:
    key, equals, expression = rest.partition("=")
    if key.strip() != "expr" or not equals:
        raise ConfigError.at("normalizer", f"{text!r} lacks expr=")
    try:
        return formula(expression)
    except ConfigError as error:
        raise ConfigError.at("normalizer", error.faults[0].text) from error


def _arguments(rest: str, known: dict[str, float | None], text: str) -> dict[str, float]:
    given = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        name, value = (word.strip() for word in part.partition("=")[::2])
        if name not in known:
            raise ConfigError.at(
                "normalizer", f"{text!r}: no argument {name!r}{did_you_mean(name, known)}"
            )
        if name in given:
            raise ConfigError.at("normalizer", f"{text!r}: {name} is there twice")
        given[name] = parse_number(value)
        if given[name] is None or not math.isfinite(given[name]):
            raise ConfigError.at("normalizer", f"{text!r}: {value!r} is no number")
    lacking = [name for name, default in known.items() if default is None and name not in given]
    if lacking:
        raise ConfigError.at("normalizer", f"{text!r} lacks {' and '.join(lacking)}")
    return {**known, **given}


def _scaled(shift: float, scale: float, text: str) -> Formula:
    if not scale > 0:
        raise ConfigError.at("normalizer", f"{text!r} divides by {scale:g}; give more than 0")
    return lambda x: (x - shift) / scale


def _log10(threshold: float, default: float) -> Formula:
    return lambda x: np.where(
        x > threshold, np.log10(x, where=x > threshold, out=np.zeros_like(x)), default
    )
