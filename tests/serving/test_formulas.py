"""Of the sizes in a program, only arithmetic is a plain formula."""

import pytest

from tzmmoe.serving.archive import is_plain_formula


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s0', positive=True, integer=True)",
        "Add(Mul(Integer(38), Symbol('s30', integer=True)), Integer(1))",
        "Max(Integer(1), s7)",
        "FloorDiv(u0, 2)",
        "Integer(-1)",
        "3",
    ],
)
def test_arithmetic_on_sizes_is_a_plain_formula(text: str) -> None:
    assert is_plain_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Symbol('s0').__class__",
        "eval('1')",
        "Symbol(__import__('os'))",
        "(lambda: 1)()",
        "[s0 for s0 in ()]",
        "Symbol('a b')",
        "s0.real",
        "os",
        "s0; s1",
        "",
        "\x00",
    ],
)
def test_anything_that_python_could_run_is_not_a_plain_formula(text: str) -> None:
    assert not is_plain_formula(text)
