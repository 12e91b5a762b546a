"""Lambdas and slices against numpy, and what they must not do: mix rows, or run anything."""

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import parts
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.models.backbone.expressions import operands
from tzmmoe.models.backbone.expressions.lambdas import Expression, parse_lambda, parse_slice
from tzmmoe.models.backbone.expressions.rowwise import FUNCTIONS

ROWS = 3
# What x is: a tensor of positive numbers (so that roots and logarithms exist), one with three axes,
# a list of tensors, or a list of three axes.
SHAPES = {"flat": (6,), "deep": (4, 5), "list": [(6,), (6,), (6,)], "pair": [(4, 5), (5, 4)]}


def inputs(kind: str, rows: int = ROWS, device: str = "cpu") -> Tensor | list[Tensor]:
    shapes = SHAPES[kind] if isinstance(SHAPES[kind], list) else [SHAPES[kind]]
    tensors = [parts.normal(rows, *s, seed=n).abs().to(device) for n, s in enumerate(shapes)]
    return tensors if isinstance(SHAPES[kind], list) else tensors[0]


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# Body of the lambda, kind of x, the same in numpy.
CASES: list[tuple[str, str, Callable]] = [
    ("x", "flat", lambda x: x),
    ("[x]", "flat", lambda x: [x]),
    ("[x, x]", "flat", lambda x: [x, x]),
    ("(x, [x])", "flat", lambda x: (x, [x])),
    ("x[0]", "list", lambda x: x[0]),
    ("x[-1]", "list", lambda x: x[-1]),
    ("x[1:]", "list", lambda x: x[1:]),
    ("x[::-1]", "list", lambda x: x[::-1]),
    ("x + [x[0]]", "list", lambda x: [*x, x[0]]),
    ("x[:, 0]", "flat", lambda x: x[:, 0]),
    ("x[:, 1 - 2]", "flat", lambda x: x[:, -1]),
    ("x[:, 1:5:2]", "flat", lambda x: x[:, 1:5:2]),
    ("x[0:, None]", "flat", lambda x: x[:, None]),
    ("x[..., :4]", "flat", lambda x: x[..., :4]),
    ("x[..., 0]", "deep", lambda x: x[..., 0]),
    ("x[:, ..., 1:]", "deep", lambda x: x[:, :, 1:]),
    ("x[..., 2, None]", "deep", lambda x: x[:, :, 2, None]),
    ("x[:][:, 1][:, 2]", "deep", lambda x: x[:, 1, 2]),
    ("-x[0] + x[1] * 2 - x[2] / 3.5", "list", lambda x: -x[0] + x[1] * 2 - x[2] / 3.5),
    ("1 - x ** 2 ** 0.5", "flat", lambda x: 1 - x**2**0.5),
    ("2 ** -x", "flat", lambda x: 2**-x),
    ("x * x[:, 0:1]", "flat", lambda x: x * x[:, :1]),
    ("tf.add_n(x)", "list", sum),
    ("tf.add(x, 2)", "flat", lambda x: x + 2),
    ("tf.add(x[0], x[1])", "list", lambda x: x[0] + x[1]),
    ("tf.subtract(1.5, x)", "flat", lambda x: 1.5 - x),
    ("tf.multiply(x=x[0], y=x[1])", "list", lambda x: x[0] * x[1]),
    ("tf.divide(x[0], x[1])", "list", lambda x: x[0] / x[1]),
    ("tf.maximum(x[0], x[1])", "list", lambda x: np.maximum(x[0], x[1])),
    ("tf.maximum(x, 0.5)", "flat", lambda x: np.maximum(x, 0.5)),
    ("tf.minimum(x[0], x[1])", "list", lambda x: np.minimum(x[0], x[1])),
    ("tf.minimum(0.5, x)", "flat", lambda x: np.minimum(x, 0.5)),
    ("tf.reduce_sum(x, axis=1, keepdims=True)", "flat", lambda x: x.sum(1, keepdims=True)),
    ("tf.reduce_sum(x, [1, -1])", "deep", lambda x: x.sum((1, 2))),
    ("tf.reduce_mean(x, axis=-1)", "deep", lambda x: x.mean(2)),
    ("tf.reduce_max(x, 1, True)", "deep", lambda x: x.max(1, keepdims=True)),
    ("tf.reduce_min(x, axis=(2,), keepdims=False)", "deep", lambda x: x.min(2)),
    ("tf.concat(x, axis=1)", "list", lambda x: np.concatenate(x, 1)),
    ("tf.concat([x, x[:, :2]], -2)", "deep", lambda x: np.concatenate([x, x[:, :2]], 1)),
    ("tf.stack(x, axis=1)", "list", lambda x: np.stack(x, 1)),
    ("tf.stack(x, axis=-1)", "list", lambda x: np.stack(x, 2)),
    ("tf.unstack(x, axis=1)", "deep", lambda x: [x[:, k] for k in range(4)]),
    ("tf.unstack(x, 5, -1)", "deep", lambda x: [x[:, :, k] for k in range(5)]),
    ("tf.split(x, 3, axis=1)", "flat", lambda x: np.split(x, 3, 1)),
    ("tf.split(x, [1, 2, 3], axis=-1)", "flat", lambda x: np.split(x, [1, 3], 1)),
    ("tf.split(x, num_or_size_splits=[2, -1], axis=1)", "deep", lambda x: np.split(x, [2], 1)),
    ("tf.reshape(x, [-1, 2, 3])", "flat", lambda x: x.reshape(len(x), 2, 3)),
    ("tf.reshape(x, (-1, 20))", "deep", lambda x: x.reshape(len(x), 20)),
    ("tf.reshape(tf.reduce_sum(x, 1), [-1])", "flat", lambda x: x.sum(1)),
    ("tf.expand_dims(x, axis=1)", "flat", lambda x: x[:, None]),
    ("tf.expand_dims(x, -1)", "flat", lambda x: x[:, :, None]),
    ("tf.squeeze(x[:, 1:2], axis=1)", "flat", lambda x: x[:, 1]),
    ("tf.squeeze(x[:, 1:2, 3:4], axis=[1, 2])", "deep", lambda x: x[:, 1, 3]),
    ("tf.tile(x, [1, 3])", "flat", lambda x: np.tile(x, [1, 3])),
    ("tf.tile(x, multiples=(1, 2, 1))", "deep", lambda x: np.tile(x, [1, 2, 1])),
    ("tf.matmul(x[0], x[1])", "pair", lambda x: np.einsum("bij,bjk->bik", *x)),
    ("tf.matmul(x, x, transpose_b=True)", "deep", lambda x: np.einsum("bij,bkj->bik", x, x)),
    ("tf.matmul(x, x, transpose_a=True)", "deep", lambda x: np.einsum("bij,bik->bjk", x, x)),
    ("tf.square(x)", "flat", np.square),
    ("tf.sqrt(x)", "flat", np.sqrt),
    ("tf.abs(x - 1)", "flat", lambda x: np.abs(x - 1)),
    ("tf.exp(x)", "flat", np.exp),
    ("tf.log(x)", "flat", np.log),
    ("tf.sigmoid(x)", "flat", sigmoid),
    ("tf.tanh(x)", "flat", np.tanh),
    ("tf.identity(x)", "flat", lambda x: x),
    ("tf.nn.relu(features=x - 1)", "flat", lambda x: np.maximum(x - 1, 0)),
    ("tf.nn.sigmoid(x)", "flat", sigmoid),
    ("tf.nn.tanh(x)", "flat", np.tanh),
    ("tf.nn.softmax(x)", "deep", lambda x: softmax(x, 2)),
    ("tf.nn.softmax(x, axis=1)", "deep", lambda x: softmax(x, 1)),
    ("tf.cast(x, tf.float64)", "flat", lambda x: x),
    ("tf.ones_like(x) + x", "flat", lambda x: 1 + x),
    ("tf.zeros_like(x) + x", "flat", lambda x: x),
    ("torch.square(x)", "flat", np.square),
    ("torch.sqrt(x)", "flat", np.sqrt),
    ("torch.abs(x)", "flat", np.abs),
    ("torch.exp(x)", "flat", np.exp),
    ("torch.log(input=x)", "flat", np.log),
    ("torch.sigmoid(x)", "flat", sigmoid),
    ("torch.tanh(x)", "flat", np.tanh),
    ("torch.relu(x - 1)", "flat", lambda x: np.maximum(x - 1, 0)),
    ("torch.softmax(x, dim=1)", "deep", lambda x: softmax(x, 1)),
    ("torch.add(x, 1)", "flat", lambda x: x + 1),
    ("torch.sub(input=x, other=1)", "flat", lambda x: x - 1),
    ("torch.mul(x, x)", "flat", lambda x: x * x),
    ("torch.div(1, x)", "flat", lambda x: 1 / x),
    ("torch.sum(x, dim=1, keepdim=True)", "flat", lambda x: x.sum(1, keepdims=True)),
    ("torch.mean(x, -1)", "deep", lambda x: x.mean(2)),
    ("torch.amax(x, dim=(1, 2))", "deep", lambda x: x.max((1, 2))),
    ("torch.amin(x, 1)", "deep", lambda x: x.min(1)),
    ("torch.cat(x, dim=1)", "list", lambda x: np.concatenate(x, 1)),
    ("torch.stack(tensors=x, dim=2)", "list", lambda x: np.stack(x, 2)),
    ("torch.unbind(x, 1)", "deep", lambda x: [x[:, k] for k in range(4)]),
    ("torch.reshape(x, (-1, 3, 2))", "flat", lambda x: x.reshape(len(x), 3, 2)),
    ("torch.squeeze(x[:, :1], 1)", "flat", lambda x: x[:, 0]),
    ("torch.unsqueeze(x, dim=2)", "flat", lambda x: x[:, :, None]),
]
EACH = pytest.mark.parametrize(("body", "kind", "oracle"), CASES, ids=[case[0] for case in CASES])


def leaves(value: Tensor | list | tuple) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [leaf for v in value for leaf in leaves(v)]


def mapped(function: Callable, value: Tensor | list | tuple) -> object:
    if isinstance(value, list | tuple):
        return type(value)(mapped(function, item) for item in value)
    return function(value)


def lambda_of(body: str) -> Expression:
    return parse_lambda(f"lambda x: {body}")


@EACH
def test_a_lambda_gives_what_numpy_gives(body: str, kind: str, oracle: Callable) -> None:
    x = inputs(kind)
    found = mapped(lambda tensor: tensor.numpy(), lambda_of(body)(x))
    expected = oracle(mapped(lambda tensor: tensor.numpy(), x))
    assert type(found) is type(expected)
    found, expected = (leaves(mapped(torch.tensor, value)) for value in (found, expected))
    assert_close(found, expected, rtol=1e-13, atol=1e-13)


@EACH
def test_rows_in_another_order_give_the_results_in_that_order(
    body: str, kind: str, oracle: Callable
) -> None:
    run, x, order = lambda_of(body), inputs(kind, 7), torch.tensor([4, 0, 6, 2, 5, 1, 3])
    moved = run(mapped(lambda tensor: tensor[order], x))
    assert_close(leaves(moved), [leaf[order] for leaf in leaves(run(x))])


@EACH
def test_without_data_a_lambda_gives_the_same_shapes(
    body: str, kind: str, oracle: Callable
) -> None:
    run = lambda_of(body)
    found = leaves(run(inputs(kind, 2, "meta")))
    assert all(leaf.is_meta for leaf in found)
    assert [leaf.shape for leaf in found] == [leaf.shape for leaf in leaves(run(inputs(kind, 2)))]


@EACH
def test_gradients_flow_through_a_lambda(body: str, kind: str, oracle: Callable) -> None:
    x = [tensor.requires_grad_() for tensor in leaves(inputs(kind, 2))]
    run = lambda_of(body)
    is_list = isinstance(SHAPES[kind], list)
    assert gradcheck(lambda *xs: tuple(leaves(run([*xs] if is_list else xs[0]))), x)


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.long)])
def test_all_lambdas_are_exported_for_any_number_of_rows(strict: bool) -> None:
    runs = [(lambda_of(body), kind) for body, kind, _ in CASES]

    class All(nn.Module):
        def forward(self, x: dict[str, Tensor | list[Tensor]]) -> list[Tensor]:
            return leaves([run(x[kind]) for run, kind in runs])

    def batch(rows: int) -> dict[str, Tensor | list[Tensor]]:
        return {kind: inputs(kind, rows) for kind in SHAPES}

    rows = torch.export.Dim("rows")
    sizes = {kind: mapped(lambda _: {0: rows}, x) for kind, x in batch(2).items()}
    program = torch.export.export(All(), (batch(5),), dynamic_shapes=(sizes,), strict=strict)
    for number in (1, 2, 9):
        assert_close(program.module()(batch(number)), All()(batch(number)))


def test_every_function_has_a_case() -> None:
    """Those of tf.math are those of tf. One stops the gradient and has a test of its own."""
    text = " ".join(body for body, *_ in CASES)
    for name, function in FUNCTIONS.items():
        if name.startswith("tf.math."):
            assert function == FUNCTIONS[name.replace("tf.math.", "tf.")]
        else:
            assert f"{name}(" in text or name == "tf.stop_gradient"


def test_stop_gradient_keeps_the_values_and_stops_the_gradient() -> None:
    x = inputs("flat").requires_grad_()
    y = lambda_of("x * tf.stop_gradient(x)")(x)
    assert_close(y, x * x)
    y.sum().backward()
    assert_close(x.grad, x.detach())


@pytest.mark.parametrize("name", ["float32", "float64", "int32", "int64"])
def test_cast_gives_the_type_and_cuts_fractions_off(name: str) -> None:
    x = torch.tensor([[-1.75, 0.5, 2.0]], dtype=torch.float64)
    found = lambda_of(f"tf.cast(x, tf.{name})")(x)
    assert found.tolist() == [[-1.75, 0.5, 2.0] if "float" in name else [-1, 0, 2]]
    assert found.dtype == getattr(torch, name)


def test_floor_division_rounds_down() -> None:
    x = torch.tensor([[-7.0, 7.0]])
    assert lambda_of("x // 2")(x).tolist() == [[-4, 3]]


@pytest.mark.parametrize("body", ["tf.reshape(x, [-1, 2, 3])", "tf.reduce_mean(x, 1)", "x[:, 0]"])
def test_a_batch_without_rows_gives_a_result_without_rows(body: str) -> None:
    assert lambda_of(body)(inputs("flat", 0)).shape[0] == 0


def test_lambdas_of_easyrecs_samples() -> None:
    """Those with their numbers: 26 features of 16."""
    x = [parts.normal(2, 416, seed=n) for n in range(3)]
    assert lambda_of("x[1]")(x) is x[1]
    unstacked = lambda_of("tf.unstack(tf.reshape(x, [-1, 26, 16]), axis=1)")(x[0])
    assert_close(unstacked, [x[0][:, 16 * f : 16 * f + 16] for f in range(26)])
    repeated = parse_lambda("lambda x, i: [x[0][i], x[1]]", arity=(2,))
    for i in range(3):
        assert leaves(repeated([x, x[2]], i)) == [x[i], x[2]]


def test_a_lambda_of_x_alone_ignores_the_number_of_the_repeat() -> None:
    run = parse_lambda("lambda inputs: inputs[1]", arity=(1, 2))
    x = inputs("list")
    assert run(x, 2) is x[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[0]", lambda x: x[0]),
        (" [1:] ", lambda x: x[1:]),
        ("[ 1 ][:, 0]", lambda x: x[1][:, 0]),
        ("[-1][..., :4]", lambda x: x[-1][:, :4]),
        ("[i]", lambda x: x[2]),
        ("[i - 2:][0]", lambda x: x[0]),
        ("[0][:, i]", lambda x: x[0][:, 2]),
    ],
)
def test_a_slice_is_what_python_gives(text: str, expected: Callable) -> None:
    x = inputs("list")
    assert_close(parse_slice(text, allow_i="i" in text)(x, 2), expected(x))


@pytest.mark.parametrize(
    "made",
    [
        parse_lambda("lambda x: tf.reduce_sum(x, axis = 1)"),
        parse_lambda("lambda x, i: x[:, i]", arity=(1, 2)),
        parse_slice("[:, 1]"),
        parse_slice("[:, i]", allow_i=True),
    ],
    ids=lambda made: made.text,
)
def test_a_copy_is_equal_and_gives_the_same(made: Expression) -> None:
    x = inputs("flat")
    for copied in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert copied == made
        assert hash(copied) == hash(made)
        assert_close(copied(x, 3), made(x, 3))


def test_blanks_and_brackets_make_no_difference_and_anything_else_does() -> None:
    made = parse_lambda(" lambda  x:(tf.add_n( x ))")
    assert made.text == "lambda x: tf.add_n(x)"
    assert len({made, lambda_of("tf.add_n(x)"), lambda_of("x"), lambda_of("x[0]")}) == 3
    assert parse_slice("[ : ,0 ]") == parse_slice("[:, 0]") != parse_slice("[:, 1]")
    assert parse_slice("[ : ,0 ]").text == "[:, 0]"


# What is refused when the text is parsed: the body, and words of the message.
REFUSED = {
    "tf.reduce_sum(x)": "'tf.reduce_sum(x)' without axis mix rows axis=1",
    "tf.reduce_mean(x, axis=None)": "mix rows axis=1",
    "tf.reduce_max(x, axis=0)": "axis is 0 rows axis=1",
    "tf.reduce_min(x, [1, 0])": "axis is 0 rows axis=1",
    "tf.reduce_min(x, [])": "empty list",
    "tf.reduce_sum(x, True)": "axis is True whole number",
    "tf.reduce_sum(x, 1.0)": "axis is 1.0 whole number",
    "tf.reduce_sum(x, 1, 1)": "keepdims is 1 True False",
    "tf.stack(x)": "without axis mix rows",
    "tf.stack(x, 0)": "axis is 0",
    "tf.concat(x, 0)": "axis is 0",
    "tf.concat(x)": "without axis",
    "tf.unstack(x)": "without axis",
    "tf.unstack(x, axis=0)": "axis is 0",
    "tf.split(x, 2)": "without axis",
    "tf.split(x, 2, 0)": "axis is 0",
    "tf.split(x, 0, 1)": "num_or_size_splits is 0 at least 1",
    "tf.split(x, None, 1)": "num_or_size_splits at least 1",
    "tf.split(x, [-1, -1], 1)": "[-1, -1] one may be -1",
    "tf.split(x, [1.5], 1)": "whole numbers [4, 12]",
    "tf.expand_dims(x, 0)": "axis is 0",
    "tf.expand_dims(x)": "without axis",
    "tf.squeeze(x)": "without axis mix rows",
    "tf.squeeze(x, 0)": "axis is 0",
    "tf.nn.softmax(x, axis=0)": "axis is 0",
    "torch.softmax(x, dim=0)": "dim is 0 rows dim=1",
    "torch.sum(x)": "without dim mix rows dim=1",
    "torch.cat(x)": "without dim",
    "torch.unbind(x)": "without dim",
    "tf.reshape(x, [32, -1])": "begins with 32 write -1 first rows",
    "tf.reshape(x, [-1, 4, -1])": "only the first",
    "tf.reshape(x, -1)": "list of whole numbers [-1, 26, 16]",
    "tf.reshape(x, [])": "list of whole numbers",
    "tf.tile(x, [2, 1])": "begins with 2 write 1 first rows",
    "tf.tile(x, [1, 0])": "at least 1",
    "tf.cast(x, 3)": "dtype is 3 tf.float32",
    "tf.cast(x, tf.flaot32)": "'tf.flaot32' did you mean 'tf.float32'",
    "x[0, 1]": "'x[0, 1]' rows x[:, 1]",
    "x[1:, 0]": "rows x[:, 0]",
    "x[None]": "new axis before the rows x[:, None]",
    "x[None, :]": "new axis before the rows x[:, :]",
    "x[..., ...]": "... twice",
    "x[1.5]": "1.5 index whole number",
    "x[True]": "True index",
    "x[[0, 1]]": "list of 2 index",
    "x[:1.5]": "1.5 slice whole numbers",
    "tf.reduce_summ(x, 1)": "'tf.reduce_summ' did you mean 'tf.reduce_sum' tf.math.reduce_sum",
    "sum(x)": "'sum' not a function tf.reduce_sum torch.sum",
    "np.mean(x, 1)": "'np.mean' not a function tf.reduce_mean torch.mean",
    "x.sum(1)": "'x.sum' method tf.reduce_sum",
    "x.shape": "'x.shape' attribute sizes as numbers",
    "tf.reshape(x, [-1, x.shape[1]])": "'x.shape' attribute",
    "tf.add_n(x).shape": "attribute",
    "x.__class__.__mro__": "'x.__class__.__mro__' attribute",
    "tf.add_n": "function call it tf.add_n(x)",
    "tf.__loader__": "'tf.__loader__' unknown",
    "y": "'y' unknown name arguments x",
    "__import__('os')": "'__import__' not a function",
    "(lambda: x)()": "not the name of a function",
    "x(1)": "'x' not a function",
    "x[0](1)": "not the name of a function",
    "lambda y: y": "a lambda inside a lambda",
    "[y for y in x]": "list comprehension write its items out",
    "x if x else x": "condition",
    "x > 1": "comparison",
    "x and x": "and, or",
    "(y := x)": "assignment",
    "{1: x}": "dictionary",
    "[*x]": "star write the items out",
    "'a'": "neither a number",
    "b'a'": "neither a number",
    "x + 1j": "neither a number",
    "...": "neither a number",
    "f'{x}'": "text numbers",
    "x @ x": "operator other than + - * / // **",
    "x % 2": "operator",
    "~x": "operator",
    "not x": "operator",
    "9 ** 9 ** 9": "more than 64 bits",
    "10 ** 19 * x": "more than 64 bits",
    "99999999999999999999 * x": "more than 64 bits",
    "3037000500 * 3037000500 * x": "more than 64 bits",
    "1e999 * x": "finite",
    "1e308 * 10 * x": "finite",
    "(-1) ** 0.5 * x": "real",
    "10.0 ** 400 * x": "cannot be computed",
    "1 / 0 * x": "cannot be computed zero",
    "-None": "operand is None",
    "tf.nn.relu(3)": "features is 3 tensor",
    "tf.add_n([1, 2])": "inputs[0] is 1 tensor",
    "tf.add_n([])": "list of tensors",
    "tf.maximum(1, 2)": "tensor",
    "tf.add_n(x, nme=1)": "no argument 'nme' takes inputs",
    "tf.reduce_sum(x, axes=1)": "no argument 'axes' did you mean 'axis' keepdims",
    "tf.reduce_sum(x, 1, axis=1)": "'axis' twice",
    "tf.add_n(x, 1)": "2 arguments inputs",
    "tf.reshape(x)": "needs 'shape'",
    "tf.add_n(*x)": "star",
    "tf.add_n(**x)": "stars",
    "": "not valid Python",
    "(": "not valid Python never closed",
    "x; x": "not valid Python",
    "x\0": "not valid Python null",
    "'\ud800'": "not valid Python surrogates",
    "(" * 900: "not valid Python parentheses",
    "-" * 41 + "x": "nested 40 simpler",
    "[" * 41 + "x" + "]" * 41: "nested 40 simpler",
    "-" * 1900 + "x": "nested 40 simpler",
    "lambda a=" * 100 + "x" + ": x" * 100: "nested 40 simpler",
    "x" + " + x" * 600: "longer than 2,000 shorter",
    f"[{'x,' * 900}]": "longer than 2,000 spacing shorter",
}


def assert_says(error: ConfigError, words: str) -> None:
    text = str(error)
    assert [fault.path for fault in error.faults] == [""]
    assert len(text) < 600
    for word in words.split():
        assert word in text, text


@pytest.mark.parametrize(("body", "words"), REFUSED.items(), ids=[text[:30] for text in REFUSED])
def test_a_lambda_is_refused_with_what_to_write(body: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lambda_of(body)
    assert_says(caught.value, words)


@pytest.mark.parametrize(
    ("text", "arity", "words"),
    [
        ("lambda x, i: x[i]", (1,), "2 arguments takes 1 argument (x) here"),
        ("lambda x: x", (2,), "1 arguments takes 2 arguments (x, i) here"),
        ("lambda: 1", (1, 2), "0 arguments 1 argument (x) or 2 arguments (x, i)"),
        ("lambda a, b, c: a", (1, 2), "3 arguments"),
        ("lambda x, x: x", (2,), "arguments x, x write x"),
        ("lambda tf: tf", (1,), "arguments tf write x"),
        ("lambda x=1: x", (1,), "plain arguments"),
        ("lambda *x: x", (1,), "plain arguments"),
        ("lambda **x: x", (1,), "plain arguments"),
        ("lambda x, /: x", (1,), "plain arguments"),
        ("lambda *, x: x", (1,), "plain arguments"),
        ("tf.add_n", (1,), "not a lambda write lambda x: tf.add_n"),
        ("import os", (1,), "not valid Python"),
    ],
)
def test_a_lambda_has_the_arguments_that_it_gets(
    text: str, arity: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_lambda(text, arity)
    assert_says(caught.value, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "'0' not a slice [0]"),
        ("", "not a slice"),
        (".shape", "not a slice"),
        ("[0].shape", "more than a slice"),
        ("[0] + x", "more than a slice"),
        ("[0](1)", "more than a slice"),
        ("[i]", "'i' unknown an index is a number here"),
        ("[x]", "x in an index"),
        ("[", "not valid Python"),
        ("[]", "not valid Python"),
        ("[0, 1]", "rows [:, 1]"),
        ("[open('a')]", "'open' not a function"),
        ("[0]" * 700, "longer than 2,000"),
        ("[0]" * 50, "nested 40"),
    ],
)
def test_a_slice_is_refused_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_slice(text)
    assert_says(caught.value, words)


# What only the values show: the body, x, and words of the message.
UNFIT = [
    ("x[0]", "flat", "'x[0]' rows (B, 6) x[:, 0]"),
    ("x[1:]", "flat", "rows (B, 6) x[:, 1:]"),
    ("x[..., 0, 0]", "flat", "rows (B, 6) x[:, 0]"),
    ("x[..., None, :, :]", "flat", "new axis before the rows"),
    ("x[:, 0, 0]", "flat", "3 indexes (B, 6)"),
    ("x[:, 6]", "flat", "index 6 axis 1 (B, 6)"),
    ("x[:, ::-1]", "flat", "step -1 at least 1"),
    ("x[x]", "flat", "(B, 6) as an index"),
    ("x[3]", "list", "list of 3 by 3 range"),
    ("x[::0]", "list", "step zero"),
    ("x[:, 0]", "list", "list of 3 x[0]"),
    ("x[...]", "list", "list of 3 x[0]"),
    ("tf.reduce_sum(x, axis=-2)", "flat", "axis -2 rows axis=1"),
    ("tf.reduce_sum(x, axis=2)", "flat", "axis is 2 2 axes"),
    ("tf.reduce_sum(x, [1, -2])", "deep", "[1, -2] twice"),
    ("tf.reduce_sum(x[:, 0], -1)", "flat", "axis -1 rows"),
    ("tf.reduce_sum(x, axis=1)", "list", "list of 3 x[0] tf.concat tf.add_n"),
    ("tf.nn.softmax(x[:, 0])", "flat", "axis -1 rows"),
    ("tf.concat(x, -2)", "list", "axis -2 rows"),
    ("tf.stack(x, -3)", "list", "axis -3 rows"),
    ("tf.unstack(x, axis=-2)", "flat", "axis -2 rows"),
    ("tf.unstack(x, 4, 1)", "flat", "num is 4 (B, 6)"),
    ("tf.split(x, 2, -2)", "flat", "axis -2 rows"),
    ("tf.split(x, 4, 1)", "flat", "4 equal (B, 6)"),
    ("tf.split(x, [1, 2], 1)", "flat", "[1, 2] add up (B, 6)"),
    ("tf.split(x, [7, -1], 1)", "flat", "[7, -1] add up (B, 6)"),
    ("tf.expand_dims(x, -3)", "flat", "axis -3 rows"),
    ("tf.squeeze(x, -2)", "flat", "axis -2 rows"),
    ("tf.squeeze(x, 1)", "flat", "(B, 6) size 1"),
    ("tf.reshape(x, [-1, 3])", "flat", "[-1, 3] 3 numbers a row (B, 6) has 6"),
    ("tf.tile(x, [1])", "flat", "1 numbers (B, 6)"),
    ("x[:, 0] * x", "flat", "(B,) (B, 6) mix rows keepdims=True tf.expand_dims"),
    ("tf.maximum(x[:, 0], x)", "flat", "(B,) (B, 6) mix rows"),
    ("tf.add(x, x[:, 0])", "flat", "(B,) (B, 6) mix rows"),
    ("tf.concat([x, x[:, 0]], 1)", "flat", "(B,) (B, 6)"),
    ("tf.matmul(x, x)", "flat", "(B, 6) mix rows 3 axes"),
    ("tf.add_n([x, x[:, :1]])", "flat", "one shape (B, 6) (B, 1)"),
    ("tf.add_n(x)", "flat", "(B, 6) list [x, x]"),
    ("tf.stack([x, x[:, :1]], 1)", "flat", "one shape (B, 6) (B, 1)"),
    ("x + x[:, :4]", "flat", "'x + x[:, :4]' cannot be computed (B, 6) (B, 4)"),
    ("tf.concat([x, x[:, :, 1:]], 1)", "deep", "cannot be computed (B, 4, 5) (B, 4, 4)"),
    ("tf.matmul(x, x)", "deep", "cannot be computed (B, 4, 5)"),
    ("x + 1", "list", "operand is a list of 3 number"),
    ("x + True", "flat", "operand is True number"),
    ("x + None", "flat", "operand is None number"),
    ("x * [1, 2]", "flat", "operand is a list of 2 number"),
    ("x * 2", "list", "operand is a list of 3 number"),
    ("3", "flat", "gives 3 tensor list"),
    ("[x, None]", "flat", "gives None tensor"),
    ("[]", "flat", "list of 0"),
    ("tf.float32", "flat", "gives a dtype tensor"),
]


@pytest.mark.parametrize(("body", "kind", "words"), UNFIT)
def test_values_that_do_not_fit_are_refused_without_data(body: str, kind: str, words: str) -> None:
    run = lambda_of(body)
    with pytest.raises(ConfigError) as caught:
        run(inputs(kind, 2, "meta"))
    assert_says(caught.value, words)


def test_a_fault_of_torch_with_data_is_not_taken_for_one_of_the_config() -> None:
    with pytest.raises(RuntimeError, match="size of tensor"):
        lambda_of("x + x[:, :4]")(inputs("flat"))


# Hostile texts.

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
