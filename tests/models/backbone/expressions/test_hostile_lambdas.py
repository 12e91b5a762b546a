"""What lambdas and slices must not do, whatever their text: run anything, or mix rows."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import parts
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from models.backbone.expressions.expression_inputs import lambda_of, leaves
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.models.backbone.expressions import operands
from tzmmoe.models.backbone.expressions.lambdas import parse_lambda, parse_slice
from tzmmoe.models.backbone.expressions.rowwise import FUNCTIONS

WATCHED = ("exec", "import", "open", "os.", "subprocess.", "socket.", "ctypes.", "marshal.")
EVENTS: list[str] = []
ARMED = [False]


@contextmanager
def watched() -> Iterator[list[str]]:
    """What Python does meanwhile, as its audit hooks see it: they cannot be taken off again."""
    if not EVENTS:
        sys.addaudithook(
            lambda event, _: (
                EVENTS.append(event) if ARMED[0] and event.startswith(WATCHED) else None
            )
        )
    EVENTS[:] = ["on"]
    ARMED[0] = True
    try:
        yield EVENTS
    finally:
        ARMED[0] = False


def outcome(text: str, parse: Callable) -> object:
    """The expression or None; nothing else may happen."""
    with watched() as events:
        try:
            made = parse(text)
        except ConfigError:
            made = None
    assert events == ["on"]
    return made


def test_the_watch_sees_what_runs() -> None:
    with watched() as events:
        exec("1")
        open(__file__).close()
    assert {"exec", "open"} <= {*events}


PIECES = [
    *["x", "i", "tf", "torch", "__import__('os').system('true')", "open('/etc/passwd').read()"],
    *["eval('1')", "exec('1')", "().__class__.__bases__[0].__subclasses__()", "x.__class__"],
    *["globals()", "tf.io.read_file('a')", "torch.load('a')", "torch.ops", "lambda: x", "lambda x"],
    *[
        "(yield x)",
        "await x",
        "[y for y in x]",
        "{**x}",
        "f'{x!r:{x}}'",
        "'''\n'''",
        "0x" + "f" * 99,
    ],
    *[
        "9**9**9**9",
        "1e400",
        "True",
        "None",
        "...",
        "-1",
        "0",
        "1",
        "2",
        "\\N{DASH}",
        "ｘ",
        "\u202e",
    ],
    *[
        "(",
        ")",
        "[",
        "]",
        ",",
        ":",
        "*",
        "**",
        "+",
        "-",
        "/",
        "//",
        "@",
        ".",
        "=",
        ":=",
        "if",
        "else",
    ],
    *[" ", "\n", "\t", "\0", "\\", "'", '"', "#", ";", "!", "\ud800", "lambda a=", *FUNCTIONS],
    *[f"{name}(" for name in FUNCTIONS],
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30), st.booleans())
@example(["f'''{", "'''\n'''", "}'''"], True)
@example(["x.", "__init__" * 200], True)
@example(["-" * 1985 + "x"], True)
def test_a_hostile_text_runs_nothing_and_is_refused_or_read(pieces: list[str], is_x: bool) -> None:
    body = "".join(pieces)
    outcome(f"lambda {'x' if is_x else 'x, i'}: {body}", lambda text: parse_lambda(text, (1, 2)))
    outcome(body, parse_lambda)
    outcome(f"[{body}]", lambda text: parse_slice(text, allow_i=True))


def test_attacks_that_are_valid_python_are_refused() -> None:
    for piece in PIECES:
        if any(word in piece for word in ("__", "open", "eval", "exec", "globals", "load", "read")):
            assert outcome(f"lambda x: {piece}", parse_lambda) is None
            assert outcome(f"lambda x: [x, {piece}]", parse_lambda) is None
            assert outcome(f"lambda x: tf.add_n([x, {piece}])", parse_lambda) is None


def one_of(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


INDEXES = st.lists(
    one_of(":", ":", "...", "None", "0", "1", "-1", "1:", ":1", "0:", "::1", "::2"),
    min_size=1,
    max_size=3,
).map(", ".join)
NUMBERS = {
    operands.Axis: one_of("0", "1", "2", "-1", "-2", "-3", "None"),
    operands.Axes: one_of("0", "1", "2", "-1", "-2", "-3", "None", "[1, 2]", "[1, -2]"),
    bool: one_of("True", "False"),
    operands.Count: one_of("None", "2"),
    operands.Sizes: one_of("[-1, 4]", "[-1, 2]", "[-1, 2, 2]", "[-1, 1, 2]", "[-1]", "[2, 2]"),
    operands.Multiples: one_of("[1, 1]", "[1, 2]", "[1, 2, 1]", "[1]", "[2, 1]"),
    operands.Splits: one_of("1", "2", "[1, 1]", "[1, -1]"),
    torch.dtype: one_of("tf.float32", "tf.int32", "tf.float64"),
}


def call(name: str, bodies: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """With as many arguments as the function takes, each of its kind."""
    lists = st.lists(bodies, min_size=1, max_size=3) | bodies.map(lambda body: [body, body])
    kinds = NUMBERS | {
        Tensor: bodies,
        operands.Operand: bodies | one_of("2", "-0.5"),
        operands.Tensors: lists.map(lambda items: f"[{', '.join(items)}]") | bodies,
    }
    parameters = FUNCTIONS[name].parameters.values()
    values = st.tuples(*(kinds[parameter.annotation] for parameter in parameters))
    return values.map(lambda texts: f"{name}({', '.join(texts)})")


def wider(bodies: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = one_of("+", "-", "*", "/", "//", "**")
    return (
        st.sampled_from([*FUNCTIONS]).flatmap(lambda name: call(name, bodies))
        | st.builds("({} {} {})".format, bodies, operators, bodies)
        | st.builds("{}[{}]".format, bodies, INDEXES)
        | st.lists(bodies, min_size=1, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    )


BODIES = st.recursive(one_of("x[0]", "x[1]", "x[0]", "x[1]", "x[2]", "x"), wider, max_leaves=6)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(BODIES)
@example("x[0] * x[1]")
@example("tf.reduce_sum(x[0], 1) * x[0]")
@example("tf.matmul(x[1], x[0])")
def test_what_is_not_refused_gives_a_row_the_same_alone_and_in_a_batch(body: str) -> None:
    """All sizes are 2, so that no shape reveals what mixes rows with columns."""
    x = [parts.normal(2, *[2] * rank, seed=rank) for rank in (1, 2, 0)]
    try:
        run = lambda_of(body)
        shapes = leaves(run([tensor.to("meta") for tensor in x]))
    except ConfigError:
        return
    found = leaves(run(x))
    assert [leaf.shape for leaf in found] == [leaf.shape for leaf in shapes]
    for row in range(2):
        alone = leaves(run([tensor[row : row + 1] for tensor in x]))
        assert_close(alone, [leaf[row : row + 1] for leaf in found], equal_nan=True)
