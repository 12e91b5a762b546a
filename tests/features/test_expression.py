"""Formulas of a config: the values of Python's math, and nothing else of Python."""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tzmmoe.features.normalizer import DEPTH, FUNCTIONS, formula

Tree = tuple[str, Callable[[float], float]]

# Each function of formulas by Python's own, with arguments at which it is defined.
MEANINGS: dict[str, tuple[Callable[..., float], list[tuple[float, ...]]]] = {
    "abs": (abs, [(-2.5,), (0.0,), (3.0,)]),
    "sign": (lambda x: (x > 0) - (x < 0), [(-2.5,), (0.0,), (3.0,)]),
    "sqrt": (math.sqrt, [(0.0,), (2.0,), (1e300,)]),
    "exp": (math.exp, [(-745.0,), (0.0,), (2.5,), (709.0,)]),
    "log": (math.log, [(1e-300,), (1.0,), (2.5,)]),
    "ln": (math.log, [(1e-300,), (1.0,), (2.5,)]),
    "log1p": (math.log1p, [(1e-18,), (-0.5,), (7.0,)]),
    "log2": (math.log2, [(0.25,), (1024.0,)]),
    "log10": (math.log10, [(1e-10,), (1000.0,)]),
    "floor": (math.floor, [(-2.5,), (2.0,), (2.9,)]),
    "ceil": (math.ceil, [(-2.5,), (2.0,), (2.1,)]),
    "round": (round, [(-2.5,), (0.5,), (1.5,), (2.6,)]),
    "sin": (math.sin, [(-2.5,), (0.0,), (3.0,)]),
    "cos": (math.cos, [(-2.5,), (0.0,), (3.0,)]),
    "tanh": (math.tanh, [(-2.5,), (0.0,), (300.0,)]),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), [(-700.0,), (-2.5,), (0.0,), (700.0,)]),
    "min": (min, [(1.0, 2.0), (2.0, -1.0)]),
    "max": (max, [(1.0, 2.0), (2.0, -1.0)]),
    "pow": (pow, [(2.0, 10.0), (2.0, -0.5), (0.0, 0.0), (-3.0, 3.0)]),
    "clip": (lambda x, low, high: min(max(x, low), high), [(-1.0, 0.0, 1.0), (0.3, 0.0, 1.0)]),
}


def value(text: str, x: float) -> float:
    with np.errstate(all="ignore"):
        return float(formula(text)(np.array([x]))[0])


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, each) for name, (_, some) in MEANINGS.items() for each in some]
)
def test_a_function_has_the_value_of_python(name: str, arguments: tuple[float, ...]) -> None:
    first, *rest = arguments
    text = f"{name}({', '.join(['x', *map(repr, rest)])})"
    expected = MEANINGS[name][0](*arguments)
    assert value(text, first) == pytest.approx(expected, rel=1e-14, abs=1e-16)


def test_every_function_is_compared_with_python() -> None:
    assert set(MEANINGS) == set(FUNCTIONS)


def binary(parts: tuple[Tree, str, Tree]) -> Tree:
    (left, f), word, (right, g) = parts
    meaning = {
        "+": lambda x: f(x) + g(x),
        "-": lambda x: f(x) - g(x),
        "*": lambda x: f(x) * g(x),
        "/": lambda x: f(x) / g(x),
        "%": lambda x: f(x) % g(x),
        "<": lambda x: float(f(x) < g(x)),
        "<=": lambda x: float(f(x) <= g(x)),
        ">": lambda x: float(f(x) > g(x)),
        ">=": lambda x: float(f(x) >= g(x)),
        "==": lambda x: float(f(x) == g(x)),
        "!=": lambda x: float(f(x) != g(x)),
    }[word]
    return f"({left} {word} {right})", meaning


def chosen(parts: tuple[Tree, Tree, Tree]) -> Tree:
    (yes, f), (test, g), (no, h) = parts
    return f"({yes} if {test} else {no})", lambda x: f(x) if g(x) else h(x)


def called(parts: tuple[str, Tree]) -> Tree:
    name, (text, f) = parts
    function = MEANINGS[name][0]
    return f"{name}({text})", lambda x: float(function(f(x)))


def power(parts: tuple[Tree, str, int]) -> Tree:
    (text, f), word, exponent = parts
    return f"({text} {word} {exponent})", lambda x: math.pow(f(x), exponent)


LEAVES = st.just(("x", lambda x: x)) | st.integers(0, 5).map(
    lambda number: (str(number), lambda x: float(number))
)
WORDS = ["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!="]
SMOOTH = ["abs", "sign", "sqrt", "exp", "log", "floor", "ceil", "sin", "tanh"]
TREES = st.recursive(
    LEAVES,
    lambda trees: (
        st.tuples(trees, st.sampled_from(WORDS), trees).map(binary)
        | st.tuples(trees, trees, trees).map(chosen)
        | st.tuples(st.sampled_from(SMOOTH), trees).map(called)
        | st.tuples(trees, st.sampled_from(["**", "^"]), st.integers(0, 3)).map(power)
        | trees.map(lambda tree: (f"(-{tree[0]})", lambda x: -tree[1](x)))
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80)
@given(TREES, st.floats(-5, 5))
def test_any_formula_has_the_value_of_python(tree: Tree, x: float) -> None:
    text, meaning = tree
    try:
        expected = meaning(x)
    except (ArithmeticError, ValueError):
        assume(False)  # where Python stops, arrays go on with inf and nan
    assert value(text, x) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 * x ^ 2 + 1", 2 * 3.0**2 + 1),
        ("x ^ 2 + 1", 3.0**2 + 1),
        ("-x ^ 2", -(3.0**2)),
        ("2 ^ x ^ 2", 2 ** (3.0**2)),
        ("1 + x * 2", 1 + 3.0 * 2),
        ("(1 + x) * 2", (1 + 3.0) * 2),
        ("  log( x + 1 )  ", math.log(4)),
        ("1 if x > 2 else 0", 1.0),
        ("+x - -x", 6.0),
        ("1 if x - 5 else 2", 1.0),
        ("1 if x - 3 else 2", 2.0),
    ],
)
def test_operators_bind_as_in_formulas_on_paper(text: str, expected: float) -> None:
    assert value(text, 3.0) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["1", "x", "x > 0", "1 < 2", "1 if 1 else 2", "-1"])
def test_a_formula_gives_a_number_for_each_number(text: str) -> None:
    x = np.array([[1.0, -2.0], [3.0, 0.5], [0.0, 1e300]])
    each = [[value(text, number) for number in row] for row in x.tolist()]
    np.testing.assert_array_equal(formula(text)(x), each)
    assert formula(text)(np.zeros((0, 2))).shape == (0, 2)


def test_where_a_formula_is_not_defined_its_value_is_not_finite() -> None:
    for text, x in (("log(x)", -1.0), ("1 / x", 0.0), ("x % 0", 1.0), ("sqrt(x)", -1.0)):
        assert not math.isfinite(value(text, x))
    assert not math.isfinite(value("exp(x)", 1e6))


REFUSED = [
    *["x.real", "x.__class__", "().__class__.__mro__", "log.__globals__", "(1).real"],
    *["__import__('os')", "open('a')", "eval('1')", "exec('1')", "print(x)", "getattr(x, 'T')"],
    *["y", "abs", "True", "None", "...", "abs(abs)", "np.log(x)"],
    *["[x for x in x]", "{x for x in x}", "{x: x for x in x}", "(x for x in x)", "[x]", "{x}"],
    *["(x, x)", "x[0]", "x[:]", "lambda: x", "lambda x: x", "(y := x)", "x := 1", "yield x"],
    *["await x", "*x", "abs(*x)", "abs(**x)", "abs(x=1)", "log(x, base=2)", "x = 1", "x; x"],
    *["import os", "del x", "x\nx", "x\0", "", "  ", "x +", "(x", "x)", "1 2", "'a'", "b'a'"],
    *["f'{x}'", "'a' * 9", "1j", "x and x", "x or x", "not x", "~x", "x // 2", "x << 1", "x | 1"],
    *["x & 1", "x @ x", "0 < x < 1", "x in x", "x is x", "x not in x", "sqrt()", "min(x, 1, 2)"],
    *["log(x)(x)", "(log)(x)(x)", "log(x).T", "clip(x)", "1" + "0" * 400, "9" * 5000],
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:24]))
def test_what_is_no_formula_is_refused_before_anything_runs(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        formula(text)


def test_a_misspelt_function_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match="no function 'sqr'; did you mean 'sqrt'"):
        formula("sqr(x)")


@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9 ** 9",
        "9 ^ 9 ^ 9 ^ 9 ^ x",
        "pow(9, pow(9, pow(9, 9)))",
        "1e308 * 1e308",
        "(" * 20 + "x" + ")" * 20,
    ],
)
def test_huge_powers_take_no_time(text: str) -> None:
    begin = time.perf_counter()
    value(text, 2.0)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    "text",
    [
        "(" * 300 + "x" + ")" * 300,
        "-" * 100_000 + "x",
        "x" + " + x" * 20_000,
        "abs(" * (DEPTH + 1) + "x" + ")" * (DEPTH + 1),
        "x ** " * 5_000 + "x",
        "x if x else " * 5_000 + "x",
        "[" * 5_000,
    ],
    ids=lambda text: text[:12],
)
def test_deep_nesting_is_refused_in_no_time(text: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=r"."):
        formula(text)
    assert time.perf_counter() - begin < 5


def test_a_formula_of_usual_depth_is_accepted() -> None:
    text = "abs(" * (DEPTH - 1) + "x" + ")" * (DEPTH - 1)
    assert value(text, -2.0) == 2.0
    assert value(" + ".join(["x"] * DEPTH), 2.0) == 2.0 * DEPTH
