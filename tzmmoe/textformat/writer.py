"""A message -> text format with comments."""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import message_factory, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import join
from tzmmoe.textformat.paths import is_map, is_set

WIDTH = 100


def lines(
    message: Message, comments: Mapping[str, str], remarks: Mapping[str, str]
) -> Iterator[str]:
    """Fields in the order of the schema, with a blank line before each kind of message.

    ``comments`` and ``remarks`` go by the path of their field. A comment stands beside the field,
    or above it if the line is too short; such a field, and every message around it, has lines of
    its own, while the other fields of a message share lines. A remark is a paragraph for each of
    its lines, above its field or, if that is not set, in its place.
    """
    yield from _Page(comments, remarks).lines(message, "", "")


def remark(text: str) -> Iterator[str]:
    """Comment lines, a paragraph for each line of the text. Lines indented by four are code, which
    is not wrapped."""
    for paragraph in text.split("\n"):
        if paragraph.startswith("    "):
            yield f"# {paragraph}"
        else:
            yield from textwrap.wrap(
                paragraph, WIDTH, initial_indent="# ", subsequent_indent="#   "
            )


def written(field: FieldDescriptor, value: Any) -> str:
    """The value of a field: strings quoted, repeated values as a list, messages in braces."""
    if field.is_repeated and field.message_type is None:
        return f"[{', '.join(_item(field, element) for element in value)}]"
    return _item(field, value)


def in_braces(message: Message) -> str:
    """The fields of a message on one line."""
    inner = " ".join(
        _code(field, value)
        for field in message.DESCRIPTOR.fields
        for _, value in _entries(message, field, "")
    )
    return f"{{ {inner} }}" if inner else "{}"


class _Page:
    """``apart``: the paths of messages that contain a comment or a remark."""

    def __init__(self, comments: Mapping[str, str], remarks: Mapping[str, str]) -> None:
        self.comments, self.remarks = comments, remarks
        self.apart = set()
        for path in (*comments, *remarks):
            while path := path.rpartition(".")[0]:
                self.apart.add(path)

    def lines(self, message: Message, path: str, indent: str) -> Iterator[str]:
        shared: list[str] = []  # fields that share lines
        for field in message.DESCRIPTOR.fields:
            entries = list(_entries(message, field, path))
            block = bool(entries) and not path and field.message_type is not None
            if not entries and join(path, field.name) in self.remarks:
                entries = [(join(path, field.name), None)]
            for number, (here, value) in enumerate(entries):
                if not block and self._may_share(field, here, value, indent):
                    shared.append(_code(field, value))
                    continue
                yield from _filled(shared, " ", indent)
                shared = []
                if block and number == 0:
                    yield ""
                yield from self._own_lines(field, here, value, indent)
        yield from _filled(shared, " ", indent)

    def _may_share(self, field: FieldDescriptor, path: str, value: Any, indent: str) -> bool:
        if value is None or path in self.comments or path in self.remarks or path in self.apart:
            return False
        return len(indent) + len(_code(field, value)) <= WIDTH

    def _own_lines(
        self, field: FieldDescriptor, path: str, value: Any, indent: str
    ) -> Iterator[str]:
        if path in self.remarks:
            yield from (f"{indent}{line}" for line in remark(self.remarks[path]))
            if field.message_type is not None:
                yield ""  # the remark is not a comment on the message alone
        if value is None:
            return
        code, comment = f"{indent}{_code(field, value)}", self.comments.get(path, "")
        is_message, fits = field.message_type is not None, len(code) <= WIDTH
        if is_message and not (fits and path not in self.apart):
            yield from _beside(f"{indent}{field.name} {{", comment)
            yield from self.lines(value, path, f"{indent}  ")
            yield f"{indent}}}"
        elif field.is_repeated and not is_message and not fits:
            yield from _beside(f"{indent}{field.name}: [", comment)
            elements = [_item(field, element) for element in value]
            yield from _filled(elements, ", ", f"{indent}  ")
            yield f"{indent}]"
        else:
            yield from _beside(code, comment)


def _entries(message: Message, field: FieldDescriptor, path: str) -> Iterator[tuple[str, Any]]:
    """The field's path and value if it is set; of a list of messages, those of each element."""
    value, here = getattr(message, field.name), join(path, field.name)
    if not is_set(message, field.name):
        return
    if not field.is_repeated or field.message_type is None:
        yield here, value
        return
    if is_map(field):
        entry = message_factory.GetMessageClass(field.message_type)
        value = [entry(key=key, value=value[key]) for key in sorted(value)]
    yield from ((f"{here}[{number}]", element) for number, element in enumerate(value))


def _code(field: FieldDescriptor, value: Any) -> str:
    colon = "" if field.message_type is not None else ":"
    return f"{field.name}{colon} {written(field, value)}"


def _item(field: FieldDescriptor, value: Any) -> str:
    if field.message_type is not None:
        return in_braces(value)
    out = io.StringIO()
    text_format.PrintFieldValue(field, value, out, as_utf8=True)
    return out.getvalue().removesuffix(".0")  # 3, not 3.0; text ends with a quote


def _filled(items: Sequence[str], between: str, indent: str) -> Iterator[str]:
    """Items on as few lines as possible; no item is split."""
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


def _beside(code: str, comment: str) -> Iterator[str]:
    """Code with its comment beside it, or above it if the line would be too long."""
    line = f"{code}  # {comment}" if comment else code
    if len(line) <= WIDTH:
        yield line
        return
    indent = code[: len(code) - len(code.lstrip())]
    yield from (f"{indent}# {part}" for part in textwrap.wrap(comment, WIDTH - len(indent) - 2))
    yield code
