"""Calls as text, such as ``nn.ELU(alpha=0.5)`` -> name and arguments, without running them."""

import ast
import inspect
from collections.abc import Callable

Argument = float | int | bool | str

SYNTAX = "write nn.Name(argument=value, ...) with plain numbers or words as values"


def parse_call(text: str) -> tuple[str, dict[str, Argument]]:
    """Name and keyword arguments. Raises ValueError for any other text."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(SYNTAX) from error
    call = tree if isinstance(tree, ast.Call) else ast.Call(func=tree, args=[], keywords=[])
    name = ast.unparse(call.func)
    if call.args or any(word.arg is None for word in call.keywords):
        raise ValueError(SYNTAX)
    return name, {str(word.arg): _literal(ast.unparse(word.value)) for word in call.keywords}


def parse_list(text: str) -> tuple[str, dict[str, Argument]]:
    """``nn.init.uniform_,a=-0.01,b=0.01`` -> name and arguments."""
    name, *parts = (part.strip() for part in text.split(","))
    arguments = {}
    for part in parts:
        word, equals, value = part.partition("=")
        if not (word.strip().isidentifier() and equals):
            raise ValueError(f"{part!r} is not of the form argument=value")
        arguments[word.strip()] = _literal(value)
    return name, arguments


def check_arguments(function: Callable, arguments: dict[str, Argument], allowed: set[str]) -> None:
    """Raise ValueError for an argument that the function does not take, a value of another type
    than its default, or a missing required argument."""
    signature = inspect.signature(function).parameters
    names = {name for name in signature if name in allowed}
    for name, value in arguments.items():
        if name not in names:
            raise ValueError(f"has no argument {name!r}; give {', '.join(sorted(names)) or 'none'}")
        is_word = isinstance(signature[name].default, str)
        if not isinstance(value, str if is_word else float | int) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}; give a {'word' if is_word else 'number'}")
    for name in names - set(arguments):
        if signature[name].default is inspect.Parameter.empty:
            raise ValueError(f"needs the argument {name!r}")


def _literal(text: str) -> Argument:
    try:
        value = ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        value = text.strip()
    is_word = isinstance(value, str) and value.isidentifier()
    if not (is_word or isinstance(value, float | int | bool)):
        raise ValueError(f"{text.strip()!r} is not a plain number or word")
    return value
