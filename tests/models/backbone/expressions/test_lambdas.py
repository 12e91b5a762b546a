"""Lambdas and slices against numpy."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import parts
import pytest
import torch
from models.backbone.expressions.expression_inputs import (
    SHAPES,
    inputs,
    lambda_of,
    leaves,
    mapped,
)
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.models.backbone.expressions.lambdas import Expression, parse_lambda, parse_slice
from tzmmoe.models.backbone.expressions.rowwise import FUNCTIONS


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
