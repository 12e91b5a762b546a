"""Which modules may be imported for a config, and what is said of those that may not or cannot."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from messages import fails, says

from tzmmoe.errors import ConfigError
from tzmmoe.registry import Modules
from tzmmoe.registry.modules import make
from tzmmoe.tasks.losses import Loss

GOOD = """
from tzmmoe.tasks.losses import LabelKind, Loss


class Good(Loss):
    outputs = ("y",)

    def __init__(self, *, rate, shape=(1, 2)):
        self.rate, self.shape = rate, shape

    def label_kind(self, num_class):
        return LabelKind()

    def predict(self, logits):
        return {"y": logits}
"""
Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module, or one in a package, where Python looks for it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def written(name: str, text: str) -> None:
        file = tmp_path / f"{name.replace('.', '/')}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    return written


@pytest.mark.parametrize(
    ("allowed", "path", "is_allowed"),
    [
        (["mine"], "mine.X", True),
        (["mine"], "mine.losses.X", True),
        (["mine"], "mine.losses.deep.X", True),
        (["mine"], "minefield.X", False),
        (["mine"], "mine_too.X", False),
        (["mine"], "theirs.mine.X", False),
        (["mine"], "Mine.X", False),
        (["mine.losses"], "mine.losses.X", True),
        (["mine.losses"], "mine.X", False),
        (["mine.losses"], "mine.losses_of_others.X", False),
        (["mine", "theirs"], "theirs.X", True),
        ("mine,theirs", "theirs.X", True),
        (" mine , theirs ", "theirs.X", True),
        ((), "mine.X", False),
        ("", "mine.X", False),
        (None, "mine.X", False),
    ],
)
def test_a_name_allows_its_module_and_what_is_in_it(allowed, path, is_allowed) -> None:
    assert (Modules.of(allowed or None)).allows(path) == is_allowed


@pytest.mark.parametrize("allowed", ["a b", "mine,", ".mine", "mine..x", "mine/x", "*", [3]])
def test_what_is_not_the_name_of_a_module_cannot_be_allowed(allowed) -> None:
    with fails(ConfigError, "allow_modules", "not the name of a module"):
        Modules.of(allowed)


@pytest.mark.parametrize(
    "path",
    ["", None, "X", ".X", "mine.", "..mine.X", "mine..X", "mine:X", "mine.X()", "mine X", "mine.1"],
)
def test_a_text_that_is_not_a_dotted_path_imports_nothing(write, path) -> None:
    write("mine", "raise SystemExit('imported')")
    with fails(ConfigError, '"mine.Focal"'):
        Modules(("mine",)).find(path, Loss)


@pytest.mark.parametrize("allowed", [(), ("mine",), ("minefield.of",), ("mine.field",)])
def test_a_module_that_is_not_allowed_is_not_imported(write, allowed) -> None:
    """Not even looked for: its finder would import the package around it."""
    write("minefield", "raise SystemExit('imported')")
    write("package.inner", "raise SystemExit('imported')")
    write("package.__init__", "raise SystemExit('imported')")
    for path in ("minefield.X", "package.inner.X"):
        with fails(ConfigError, path, "--allow_modules", "allow_modules=["):
            Modules(allowed).find(path, Loss)
    assert not {"minefield", "package", "package.inner"} & set(sys.modules)


def test_an_allowed_class_is_found_in_a_module_and_in_a_package(write) -> None:
    write("mine", GOOD)
    write("of_mine.losses", GOOD)
    for path in ("mine.Good", "of_mine.losses.Good"):
        found = Modules(("mine", "of_mine")).find(path, Loss)
        assert f"{found.__module__}.{found.__name__}" == path


@pytest.mark.parametrize(
    ("path", "text", "parts"),
    [
        ("mine.Goods", GOOD, ["no class Goods", "'Good'"]),
        ("mine.word", GOOD + "\nword = 3", ["no class word"]),
        ("mine.LabelKind", GOOD, ["not derived from tzmmoe.tasks.losses.Loss"]),
        (
            "mine.Half",
            GOOD + "\nclass Half(Loss):\n    pass",
            ["does not define label_kind, predict"],
        ),
        ("mine.deep.Good", GOOD, ["no module mine.deep"]),
    ],
)
def test_a_class_that_does_not_fit_is_refused_with_what_is_wrong(write, path, text, parts) -> None:
    write("mine", text)
    with fails(ConfigError, *parts):
        Modules(("mine",)).find(path, Loss)


def test_a_module_that_is_not_there_is_told_from_one_that_it_needs(write) -> None:
    write("mine", "import numbers_of_another_planet")
    with fails(ConfigError, "needs numbers_of_another_planet, which is not installed"):
        Modules(("mine",)).find("mine.X", Loss)
    with fails(ConfigError, "no module elsewhere", "PYTHONPATH"):
        Modules(("elsewhere",)).find("elsewhere.X", Loss)


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("1 / 0", ["ZeroDivisionError", "mine.py, line 2"]),
        ("undefined", ["NameError", "undefined", "line 2"]),
        ("raise ValueError('why')", ["ValueError: why"]),
        ("raise RuntimeError('why')", ["RuntimeError: why"]),
        ("assert False, 'why'", ["AssertionError", "why"]),
        ("[][0]", ["IndexError"]),
        ("{}['a']", ["KeyError"]),
        ("open('not there')", ["FileNotFoundError"]),
        ("from math import no_such", ["ImportError", "no_such"]),
        ("None.x", ["AttributeError"]),
        ("class Loss(3): pass", ["TypeError"]),
        ("def broken(:", ["SyntaxError", "mine.py, line 2"]),
    ],
)
def test_a_module_that_raises_while_it_is_imported_is_named_with_its_error(
    write, code, parts
) -> None:
    write("mine", f"\n{code}\n")
    with fails(ConfigError, "importing mine fails", *parts):
        Modules(("mine",)).find("mine.X", Loss)


class Made:
    def __init__(self, first: int, *, rate: float, mode: str = "a") -> None:
        if rate < 0:
            raise ConfigError.at("rate", "is below 0")
        if mode == "type":
            raise TypeError("of another kind")
        if mode == "value":
            raise ValueError("of another size")
        if mode == "elsewhere":
            raise ConfigError.at("embedding_dim", "is not set")
        self.values = (first, rate, mode)


@pytest.mark.parametrize(
    ("args", "faults"),
    [
        ({}, [("args", "needs the argument 'rate'")]),
        (None, [("args", "needs the argument 'rate'")]),
        ({"rat": 1}, [("args.rat", "did you mean 'rate'?")]),
        ({"rate": 1, "speed": 2}, [("args.speed", "takes no argument 'speed'")]),
        ({"rate": 1, "first": 2}, [("args.first", "takes no argument 'first'")]),
        ({"x": 1}, [("args.x", "'x'"), ("args", "'rate'")]),
        ({"rate": -1}, [("args.rate", "is below 0")]),
        ({"rate": "a"}, [("args", "TypeError")]),
        ({"rate": 1, "mode": "type"}, [("args", "TypeError: of another kind")]),
        ({"rate": 1, "mode": "value"}, [("args", "ValueError: of another size")]),
        ({"rate": 1, "mode": "elsewhere"}, [("embedding_dim", "is not set")]),
    ],
)
def test_arguments_that_the_constructor_does_not_take_are_faults_at_their_paths(
    args: dict | None, faults: Sequence[tuple[str, str]]
) -> None:
    with pytest.raises(ConfigError) as error:
        make(Made, [7], args)
    assert [fault.path for fault in error.value.faults] == [path for path, _ in faults]
    for fault, (_, words) in zip(error.value.faults, faults, strict=True):
        says(fault.text, words)


def test_arguments_arrive_as_keywords_and_may_have_defaults() -> None:
    assert make(Made, [7], {"rate": 0.5}).values == (7, 0.5, "a")
    assert make(Made, [7], {"rate": 1, "mode": "b"}).values == (7, 1, "b")


class Annotated:
    def __init__(self, scale: float, count: int, other: "float" = 0.0, *, free=1) -> None:
        self.values = (scale, count, other, free)


def test_a_whole_number_is_a_float_where_the_constructor_says_float() -> None:
    values = make(Annotated, [], {"scale": 2, "count": 3, "other": 4, "free": 5}).values
    assert values == (2, 3, 4, 5)
    assert [type(value) for value in values] == [float, int, float, int]
