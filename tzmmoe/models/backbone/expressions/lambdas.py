"""Lambdas and slices of a config, such as ``lambda x: tf.add_n(x)`` and ``[:, 0]``.

The text is parsed, and each node of its tree becomes a small function of the arguments. Nodes that
are not known here are refused; Python never runs the text itself.
"""

import ast
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError, did_you_mean, few
from tzmmoe.models.backbone.expressions.indexing import check_index, check_indexes, indexed, sliced
from tzmmoe.models.backbone.expressions.operands import (
    ARITHMETIC,
    Refused,
    Value,
    arithmetic,
    check_number,
    described,
    negative,
)
from tzmmoe.models.backbone.expressions.rowwise import DTYPES, FUNCTIONS, near

MOST_CHARACTERS, DEEPEST, SHOWN = 2000, 40, 80
ARGUMENTS = {1: "1 argument (x)", 2: "2 arguments (x, i)"}
SYMBOLS = dict(
    zip((ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Pow), ARITHMETIC, strict=True)
)
NOT_HERE = {
    ast.Lambda: "a lambda inside a lambda",
    ast.ListComp: "a list comprehension; write its items out",
    ast.GeneratorExp: "a generator; write its items out in a list",
    ast.IfExp: "a condition",
    ast.Compare: "a comparison",
    ast.BoolOp: "and, or",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star; write the items out",
    ast.Dict: "a dictionary",
    ast.Slice: "a slice outside of [...]",
}

Arguments = tuple[Value, ...]
Step = Callable[[Arguments], Value]


@dataclass(frozen=True)
class Expression:
    """A lambda. Equal texts, as Python would write them, are equal expressions."""

    text: str
    num_arguments: int
    _run: Step = field(repr=False, compare=False)

    def __call__(self, x: Value, i: int | None = None) -> Value:
        """A tensor, or a list or tuple of them. ``i`` counts the repeats of a layer, from 0; a
        lambda of x alone ignores it. Raises ConfigError for values that do not fit."""
        assert i is not None or self.num_arguments == 1
        return _result(self.text, self._run, (x, i)[: self.num_arguments])

    def __reduce__(self) -> tuple:
        return parse_lambda, (self.text, (self.num_arguments,))


@dataclass(frozen=True)
class Slice:
    """What a text such as ``[:, 0]`` after x gives."""

    text: str
    uses_i: bool
    _run: Step = field(repr=False, compare=False)

    def __call__(self, x: Value, i: int | None = None) -> Value:
        """As of an Expression."""
        assert i is not None or not self.uses_i
        return _result(self.text, self._run, (x, i))

    def __reduce__(self) -> tuple:
        return parse_slice, (self.text, self.uses_i)


def parse_lambda(text: str, arity: Sequence[int] = (1,)) -> Expression:
    """``arity``: how many arguments it may take, of x and i. Raises ConfigError."""
    tree = _parsed(text, text)
    if not isinstance(tree, ast.Lambda):
        raise _fault(text, f"is not a lambda; write lambda x: {_short(text.strip())}")
    names = _argument_names(tree, arity)
    run = _Compiler(names, f"the arguments are {', '.join(names)}").term(tree.body).run
    return Expression(ast.unparse(tree), len(names), run)


def parse_slice(text: str, allow_i: bool = False) -> Slice:
    """``allow_i``: whether an index may be i, the number of the repeat. Raises ConfigError."""
    if not text.strip().startswith("["):
        raise _fault(text, "is not a slice; write an index in brackets, such as [0] or [:, 0]")
    tree = root = _parsed("x" + text.strip(), text)
    while isinstance(root, ast.Subscript):
        root = root.value
    if not isinstance(root, ast.Name):
        raise _fault(text, "is more than a slice; write only brackets, such as [0] or [:, 0]")
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    if names.count("x") > 1:
        raise _fault(text, "has x in an index; write a number")
    known = "an index is a number or i" if allow_i else "an index is a number here"
    run = _Compiler(("x", "i") if allow_i else ("x",), known).term(tree).run
    return Slice(ast.unparse(tree)[1:], "i" in names, run)


def _parsed(text: str, shown: str) -> ast.expr:
    """The tree, which is not deep, so that it can be walked by recursion."""
    if len(text) > MOST_CHARACTERS:
        raise _too_long(shown)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd escape in a text, which is refused anyway
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise _fault(shown, f"is not valid Python: {error.msg}; correct it") from error
    except ValueError as error:  # a null byte, or half of a character
        raise _fault(shown, f"is not valid Python: {error}; correct it") from error
    except (RecursionError, MemoryError) as error:  # so the parser says that its stack is full
        raise _too_deep(shown) from error
    if _depth(tree) > DEEPEST:
        raise _too_deep(shown)
    if any(isinstance(node, ast.JoinedStr) for node in ast.walk(tree)):
        raise _fault(shown, "has a text in it; write numbers")  # not all of them can be unparsed
    if len(ast.unparse(tree)) > MOST_CHARACTERS:  # which a copy is made from
        raise _too_long(shown)
    return tree


def _depth(tree: ast.AST) -> int:
    """Of nested nodes, found without recursion."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [
            child
            for node in level
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.expr_context | ast.operator | ast.unaryop)
        ]
    return depth


def _argument_names(tree: ast.Lambda, arity: Sequence[int]) -> tuple[str, ...]:
    written, text = tree.args, ast.unparse(tree)
    extra = [written.vararg, written.kwarg]
    extra += [*written.posonlyargs, *written.kwonlyargs, *written.defaults]
    if any(extra):
        raise _fault(text, "has more than plain arguments; write lambda x: ... or lambda x, i: ...")
    names = tuple(argument.arg for argument in written.args)
    if len(names) not in arity:
        takes = " or ".join(ARGUMENTS[count] for count in arity)
        raise _fault(text, f"has {len(names)} arguments, but takes {takes} here")
    if len(set(names)) < len(names) or {"tf", "torch"} & set(names):
        raise _fault(text, f"names its arguments {', '.join(names)}; write x, or x and i")
    return names


@dataclass(frozen=True)
class _Term:
    """``is_fixed``: whether its value follows from the text alone."""

    run: Step
    is_fixed: bool


def _fixed(value: Value) -> _Term:
    return _Term(lambda _: value, True)


class _Compiler:
    """Trees of expressions -> functions of the arguments."""

    def __init__(self, names: tuple[str, ...], known: str) -> None:
        self.names, self.known = names, known

    def term(self, node: ast.expr) -> _Term:
        match node:
            case ast.Constant():
                return _constant(node)
            case ast.Name():
                return self._name(node)
            case ast.Attribute():
                return self._attribute(node)
            case ast.UnaryOp(op=ast.USub()):
                return self._apply(node, [node.operand], negative)
            case ast.BinOp() if type(node.op) in SYMBOLS:
                symbol = SYMBOLS[type(node.op)]
                sides = [node.left, node.right]
                return self._apply(node, sides, lambda x, y: arithmetic(symbol, x, y))
            case ast.List():
                return self._apply(node, node.elts, lambda *items: list(items))
            case ast.Tuple():
                return self._apply(node, node.elts, lambda *items: items)
            case ast.Subscript():
                return self._subscript(node)
            case ast.Call():
                return self._call(node)
        refused = NOT_HERE.get(type(node), "what an expression may not hold here")
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            refused = f"an operator other than {' '.join(ARITHMETIC)}"
        raise _fault(node, f"is {refused}; use arithmetic, indexes and functions such as tf.concat")

    def _apply(
        self, node: ast.expr, parts: Sequence[ast.expr], function: Callable[..., Value]
    ) -> _Term:
        return _applied(node, [self.term(part) for part in parts], function)

    def _name(self, node: ast.Name) -> _Term:
        if node.id not in self.names:
            raise _fault(node, f"is an unknown name; {self.known}")
        place = self.names.index(node.id)
        return _Term(lambda arguments: arguments[place], False)

    def _attribute(self, node: ast.Attribute) -> _Term:
        name = ast.unparse(node)
        if name in DTYPES:
            return _fixed(DTYPES[name])
        if name in FUNCTIONS:
            raise _fault(node, f"is a function; call it, as in {name}(x)")
        if name.startswith(("tf.", "torch.")) and isinstance(node.value, ast.Name | ast.Attribute):
            raise _fault(node, f"is unknown{did_you_mean(name, DTYPES)}; give {few([*DTYPES])}")
        raise _fault(
            node, "reads an attribute; write sizes as numbers, and -1 for the rows of a reshape"
        )

    def _subscript(self, node: ast.Subscript) -> _Term:
        is_tuple = isinstance(node.slice, ast.Tuple)
        elements = node.slice.elts if is_tuple else [node.slice]
        items = [self._index(element) for element in elements]
        dots = [ast.unparse(element) == "..." for element in elements[:1]]
        kept = elements[is_tuple + any(dots) :]
        rest = ", ".join(map(ast.unparse, kept))
        remedy = f"write {ast.unparse(node.value)}[:, {rest}]"
        with _naming(node):
            fixed = [item.run(()) if item.is_fixed else slice(None) for item in items]
            check_indexes(fixed, remedy)
        terms = [self.term(node.value), *items]
        return _applied(node, terms, lambda value, *indexes: indexed(value, indexes, remedy))

    def _index(self, node: ast.expr) -> _Term:
        """Of one element between the brackets."""
        if isinstance(node, ast.Slice):
            ends = (node.lower, node.upper, node.step)
            terms = [_fixed(None) if end is None else self.term(end) for end in ends]
            return _applied(node, terms, sliced)
        if isinstance(node, ast.Constant) and node.value is ...:
            return _fixed(...)
        term = self.term(node)
        if term.is_fixed:
            with _naming(node):
                check_index(term.run(()))
        return term

    def _call(self, node: ast.Call) -> _Term:
        name = ast.unparse(node.func)
        function = FUNCTIONS.get(name)
        if function is None:
            raise _fault(node.func, self._unknown(node.func, name))
        with _naming(node):
            keywords = [(keyword.arg, keyword.value) for keyword in node.keywords]
            written = function.bound(node.args, keywords)
            defaults = function.defaults(written)
        terms = {word: self.term(value) for word, value in written.items()}
        with _naming(node):
            for word, term in terms.items():
                if term.is_fixed:
                    function.check(word, term.run(()))

        def run(*values: Value) -> Value:
            arguments = dict(zip(terms, values, strict=True))
            for word, value in arguments.items():
                function.check(word, value)
            return function(**defaults, **arguments)

        return _applied(node, [*terms.values()], run)

    def _unknown(self, node: ast.expr, name: str) -> str:
        """Why a call of this is refused."""
        if not isinstance(node, ast.Name | ast.Attribute):
            return "is called, but is not the name of a function; write one, such as tf.concat"
        last = name.rpartition(".")[2]
        if name.partition(".")[0] in self.names and isinstance(node, ast.Attribute):
            subject = f"is a method{did_you_mean(last, FUNCTIONS)}"
        else:
            subject = f"is not a function that may be called{did_you_mean(name, FUNCTIONS)}"
        return f"{subject}; use functions such as {few(near(name) or ['tf.concat', 'tf.add_n'], 8)}"


def _constant(node: ast.Constant) -> _Term:
    value = node.value
    if value is not None and not isinstance(value, bool | int | float):
        raise _fault(node, "is neither a number nor True, False or None; write a number")
    if value is not None:
        with _naming(node):
            check_number(value)
    return _fixed(value)


def _applied(node: ast.AST, parts: Sequence[_Term], function: Callable[..., Value]) -> _Term:
    """A function of what the parts give; its faults name the node."""
    shown = ast.unparse(node)

    def run(arguments: Arguments) -> Value:
        values = [part.run(arguments) for part in parts]
        try:
            return function(*values)
        except Refused as error:
            raise _fault(shown, str(error)) from error
        except (RuntimeError, IndexError) as error:
            # Without data, these can only be about shapes and types.
            if not any(tensor.is_meta for tensor in _tensors(values)):
                raise
            tensors = few([*map(described, _tensors(values))])
            said = str(error).partition("\n")[0]
            raise _fault(shown, f"cannot be computed from {tensors}: {said}") from error

    if all(part.is_fixed for part in parts):
        return _fixed(run(()))
    return _Term(run, False)


def _tensors(value: Value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _result(text: str, run: Step, arguments: Arguments) -> Value:
    value = run(arguments)
    _check_result(text, value)
    return value


def _check_result(text: str, value: Value) -> None:
    is_list = isinstance(value, list | tuple)
    if value is None or isinstance(value, int | float | torch.dtype) or (is_list and not value):
        raise _fault(text, f"gives {described(value)}; it must give a tensor or a list of tensors")
    for item in value if is_list else ():
        _check_result(text, item)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@contextmanager
def _naming(node: ast.AST) -> Iterator[None]:
    """Turn Refused into a ConfigError that names the node."""
    try:
        yield
    except Refused as error:
        raise _fault(node, str(error)) from error


def _too_long(shown: str) -> ConfigError:
    most = f"{MOST_CHARACTERS:,} characters"
    return _fault(shown, f"is longer than {most}, with usual spacing; write a shorter one")


def _too_deep(shown: str) -> ConfigError:
    return _fault(shown, f"is nested more than {DEEPEST} deep; write a simpler one")


def _fault(part: str | ast.AST, text: str) -> ConfigError:
    """A fault of a part of an expression, or of its text."""
    shown = part if isinstance(part, str) else ast.unparse(part)
    return ConfigError.saying(f"{_short(shown)!r}: {text}")
