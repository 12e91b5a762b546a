"""Texts of calls are read, never run."""

import math
from keyword import iskeyword
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.nn.calls import parse_call, parse_list

WORDS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda word: not iskeyword(word))
PLAIN = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
HOSTILE = [
    "__import__('os').system('touch {path}')",
    "nn.ReLU(negative_slope=open('{path}', 'w'))",
    "nn.ReLU(negative_slope=__import__('pathlib').Path('{path}').touch())",
    "open('{path}', 'w').close()",
    "(lambda: open('{path}', 'w'))()",
    "nn.init.uniform_,a=open('{path}', 'w')",
    "open('{path}','w'),a=1",
    "exec,a=1",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("parse", [parse_call, parse_list])
def test_nothing_in_a_text_is_run(parse: object, text: str, tmp_path: Path) -> None:
    """Either it is refused, or it is no more than a name with plain arguments."""
    path = tmp_path / "made"
    try:
        _, arguments = parse(text.format(path=path))
    except ValueError:
        arguments = {}
    assert not path.exists()
    assert all(type(value) in (int, float, bool, str) for value in arguments.values())


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_call, parse_list):
        try:
            name, arguments = parse(text)
        except ValueError:
            continue
        assert isinstance(name, str)
        assert all(type(value) in (int, float, bool, str) for value in arguments.values())


@settings(deadline=None)
@given(WORDS, st.dictionaries(WORDS, PLAIN, max_size=4))
def test_numbers_come_back_as_they_were_written(name: str, arguments: dict) -> None:
    written = ", ".join(f"{word}={value!r}" for word, value in arguments.items())
    assert parse_call(f"nn.{name}({written})") == (f"nn.{name}", arguments)
    listed = ",".join([name, *(f"{word}={value!r}" for word, value in arguments.items())])
    assert parse_list(listed) == (name, arguments)


def test_a_plain_word_is_a_value() -> None:
    assert parse_call("nn.GELU(approximate='tanh')") == ("nn.GELU", {"approximate": "tanh"})
    assert parse_call("nn.GELU(approximate=tanh)") == ("nn.GELU", {"approximate": "tanh"})
    assert parse_list("f,mode=fan_in") == ("f", {"mode": "fan_in"})


def test_numbers_may_have_exponents_and_signs() -> None:
    name, arguments = parse_list(" nn.init.uniform_ , a = -1e-2, b=+.5 ")
    assert name == "nn.init.uniform_"
    assert math.isclose(arguments["a"], -0.01)
    assert arguments["b"] == 0.5


@pytest.mark.parametrize("text", ["f(1)", "f(*a)", "f(**a)", "f(a=[1])", "f(a=1,", "", "f(a=b.c)"])
def test_other_than_plain_keywords_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_call(text)


@pytest.mark.parametrize("text", ["f,1", "f,a", "f,=1", "f,a=", "f,a=1 2", "f,a=(1)(2)", "f,a=b.c"])
def test_other_than_plain_arguments_in_a_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_list(text)
