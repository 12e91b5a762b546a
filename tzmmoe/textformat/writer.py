"""A message -> text format with comments."""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import join

WIDTH = 100


def remark(text: str) -> list[str]:
    """A comment on lines of its own."""
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="#   ")


def lines(message: Message, comments: Mapping[str, str]) -> Iterator[str]:
    """Fields in the order of the schema; ``comments`` go by path. A field with a comment, or with
    one inside of it, gets lines of its own; the others of a message stand side by side."""
    owners = {owner for path in comments for owner in _owners(path)}
    yield from _lines(message, comments, owners, "", "")


def _owners(path: str) -> Iterator[str]:
    """Paths of the messages that a field lies in."""
    while path := path.rpartition(".")[0]:
        yield path


def _lines(
    message: Message, comments: Mapping[str, str], owners: Set[str], path: str, indent: str
) -> Iterator[str]:
    beside: list[str] = []
    for field, value in _fields(message):
        for number, each in enumerate(value if _messages(field) else [value]):
            here = join(path, f"{field.name}[{number}]" if _messages(field) else field.name)
            code, comment = _line(field, each), comments.get(here, "")
            whole = len(indent) + len(code) <= WIDTH and here not in owners
            if whole and not comment:
                beside.append(code)
                continue
            yield from wrapped(beside, " ", indent)
            beside = []
            if field.message_type is None:
                yield from _commented(field, each, indent, comment)
            elif whole:
                yield from _beside(f"{indent}{code}", comment)
            else:
                yield from _beside(f"{indent}{field.name} {{", comment)
                yield from _lines(each, comments, owners, here, f"{indent}  ")
                yield f"{indent}}}"
    yield from wrapped(beside, " ", indent)


def written(field: FieldDescriptor, value: Any) -> str:
    """The value of a field: text is quoted, several are a list, a message lies in braces."""
    if field.is_repeated and field.message_type is None:
        return f"[{', '.join(_items(field, value))}]"
    return _item(field, value)


def in_braces(message: Message) -> str:
    """The fields of a message on one line."""
    inner = " ".join(
        _line(field, each)
        for field, value in _fields(message)
        for each in (value if _messages(field) else [value])
    )
    return f"{{ {inner} }}" if inner else "{}"


def wrapped(items: Sequence[str], between: str, indent: str) -> Iterator[str]:
    """Items on as few lines as hold them; no item is cut."""
    line = ""
    for number, item in enumerate(items, start=1):
        after = between.rstrip() if number < len(items) else ""
        if line and len(indent) + len(line) + len(between) + len(item) + len(after) > WIDTH:
            yield indent + line + between.rstrip()
            line = item
        else:
            line = f"{line}{between}{item}" if line else item
    if line:
        yield indent + line


def _fields(message: Message) -> list[tuple[FieldDescriptor, Any]]:
    """Those that are set, in the order of the schema."""
    order = {field.name: place for place, field in enumerate(message.DESCRIPTOR.fields)}
    return sorted(message.ListFields(), key=lambda each: order[each[0].name])


def _messages(field: FieldDescriptor) -> bool:
    return field.is_repeated and field.message_type is not None


def _line(field: FieldDescriptor, value: Any) -> str:
    colon = "" if field.message_type is not None else ":"
    return f"{field.name}{colon} {written(field, value)}"


def _items(field: FieldDescriptor, values: Sequence[Any]) -> list[str]:
    return [_item(field, value) for value in values]


def _item(field: FieldDescriptor, value: Any) -> str:
    if field.message_type is not None:
        return in_braces(value)
    out = io.StringIO()
    text_format.PrintFieldValue(field, value, out, as_utf8=True)
    return out.getvalue()


def _commented(field: FieldDescriptor, value: Any, indent: str, comment: str) -> Iterator[str]:
    """A scalar, or a list of them, on as many lines as it needs."""
    code = f"{indent}{_line(field, value)}"
    if len(code) <= WIDTH or not field.is_repeated:
        yield from _beside(code, comment)
        return
    yield from _beside(f"{indent}{field.name}: [", comment)
    yield from wrapped(_items(field, value), ", ", f"{indent}  ")
    yield f"{indent}]"


def _beside(code: str, comment: str) -> Iterator[str]:
    """Code with its comment, which goes before it where it does not fit."""
    line = f"{code}  # {comment}" if comment else code
    if len(line) <= WIDTH:
        yield line
        return
    indent = code[: len(code) - len(code.lstrip())]
    yield from (f"{indent}# {part}" for part in textwrap.wrap(comment, WIDTH - len(indent) - 2))
    yield code
