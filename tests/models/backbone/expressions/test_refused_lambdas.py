"""Lambdas and slices that are refused, and what is said of them."""

import pytest
from models.backbone.expressions.expression_inputs import inputs, lambda_of

from tzmmoe.errors import ConfigError
from tzmmoe.models.backbone.expressions.lambdas import parse_lambda, parse_slice

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
