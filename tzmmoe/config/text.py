"""Config text -> message. Every fault of the text is found, each with its line."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from tzmmoe.config import neighbours
from tzmmoe.errors import Fault, Faults, did_you_mean

TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<word>[A-Za-z0-9_.+\-/]+)
      | (?P<mark>[{}<>\[\]:,;])
      | (?P<other>.)""",
    re.VERBOSE,
)
CLOSING = {"{": "}", "<": ">"}


@dataclass(frozen=True)
class Span:
    """Where one field stands: its path with an index at every name, and its characters."""

    path: str
    start: int
    end: int


@dataclass
class Outline:
    """The fields of a text, found without the schema, and the first brace that does not close."""

    name: str
    text: str
    spans: list[Span] = field(default_factory=list)
    unclosed: int | None = None

    def __post_init__(self) -> None:
        self._tokens = [m for m in TOKEN.finditer(self.text) if m.lastgroup != "skip"]
        self._next = 0
        self._message("", closing=None)

    def line(self, position: int) -> int:
        return self.text.count("\n", 0, position) + 1

    def locate(self, path: str) -> str:
        """``file:line`` of a path, or of the nearest message around it that the text shows."""
        if path.startswith("--"):
            return ""
        starts = {span.path: span.start for span in reversed(self.spans)}
        names = indexed(path).split(".")
        for length in range(len(names), 0, -1):
            start = starts.get(".".join(names[:length]))
            if start is not None:
                return f"{self.name}:{self.line(start)}"
        return self.name

    def innermost(self, position: int) -> Span | None:
        around = [span for span in self.spans if span.start <= position < span.end]
        return min(around, key=lambda span: span.end - span.start) if around else None

    def _peek(self) -> str:
        return self._tokens[self._next].group() if self._next < len(self._tokens) else ""

    def _message(self, parent: str, closing: str | None) -> None:
        counts: dict[str, int] = {}
        while self._next < len(self._tokens) and self._peek() != closing:
            token = self._tokens[self._next]
            self._next += 1
            if token.lastgroup != "word":
                continue
            count = counts[token.group()] = counts.get(token.group(), -1) + 1
            path = f"{parent}.{token.group()}[{count}]".lstrip(".")
            if self._peek() == ":":
                self._next += 1
            counts[token.group()] += self._value(path, token.group(), parent, count)
            self.spans.append(Span(path, token.start(), self._tokens[self._next - 1].end()))

    def _value(self, path: str, name: str, parent: str, count: int) -> int:
        """Pass over a value; how many elements beyond the first it has."""
        mark = self._peek()
        if mark in CLOSING:
            opened = self._tokens[self._next].start()
            self._next += 1
            self._message(path, CLOSING[mark])
            if self._next >= len(self._tokens) and self.unclosed is None:
                self.unclosed = opened
            self._next += 1
            self._next = min(self._next, len(self._tokens))
            return 0
        if mark != "[":
            self._next = min(self._next + 1, len(self._tokens))
            while self._next < len(self._tokens) and self._tokens[self._next].lastgroup == "string":
                self._next += 1
            return 0
        self._next += 1
        elements = 0
        while self._next < len(self._tokens) and self._peek() != "]":
            if self._peek() == ",":
                self._next += 1
                continue
            self._value(f"{parent}.{name}[{count + elements}]".lstrip("."), name, parent, count)
            elements += 1
        self._next = min(self._next + 1, len(self._tokens))
        return max(elements - 1, 0)


def indexed(path: str) -> str:
    """``a.b[1]`` -> ``a[0].b[1]``."""
    return ".".join(n if n.endswith("]") else f"{n}[0]" for n in path.split("."))


def shown(path: str, root: Descriptor) -> str:
    """``a[0].b[1]`` as a user writes it: an index only where the schema repeats."""
    names, here = [], root
    for name in path.split("."):
        each = here.fields_by_name.get(name.partition("[")[0]) if here else None
        names.append(name if each and each.is_repeated else name.removesuffix("[0]"))
        here = each.message_type if each else None
    return ".".join(names)


def parse(path: Path, text: str, message: Message, faults: Faults) -> Outline:
    """Fill ``message`` from the text, leaving out what is faulty. Faults know their lines."""
    if path.suffix == ".json":
        try:
            json_format.Parse(text, message)
        except json_format.ParseError as error:
            faults.append(Fault("", str(error), where=path.name))
        return Outline(path.name, "")
    outline = Outline(path.name, text)
    while True:
        message.Clear()
        try:
            text_format.Parse(text, message)
            return outline
        except text_format.ParseError as error:
            fault, span = _explain(error, outline, message.DESCRIPTOR)
            faults.append(fault)
            if span is None:
                return outline
            blank = re.sub(r"[^\n]", " ", text[span.start : span.end])
            text = text[: span.start] + blank + text[span.end :]


def _explain(
    error: text_format.ParseError, outline: Outline, root: Descriptor
) -> tuple[Fault, Span | None]:
    """The fault in our words, and the field to leave out before parsing on, if that helps."""
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    lines = outline.text.split("\n")
    position = sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
    words = re.sub(r"^\d+:\d+ : ", "", str(error))
    words = re.sub(r"^'[^\n]*': ", "", words)
    span = outline.innermost(position)
    where = f"{outline.name}:{line}"
    if outline.unclosed is not None and re.match(r'Expected "[}>]"', words):
        opened = outline.line(outline.unclosed)
        return Fault("", f"the brace opened in line {opened} is not closed", where=where), None
    if span is None or words.startswith("String missing"):
        return Fault("", words, where=where), None
    path = shown(span.path, root)
    owner = descriptor_at(root, path.rpartition(".")[0])
    return Fault(path, _rephrase(words, path, owner), where=where), span


def _rephrase(words: str, path: str, owner: Descriptor | None) -> str:
    """What the parser says of the field at ``path``, in terms of the config."""
    fields = owner.fields_by_name if owner else {}
    if unknown := re.search(r'has no field named "([^"]+)"', words):
        if system := neighbours.WORDS.get(unknown[1]):
            return f"a word of {system} that tzmmoe does not support yet; remove it"
        return f"no such field{did_you_mean(unknown[1], fields)}"
    if "should not have multiple" in words:
        return "is given twice; give it once"
    if value := re.search(r'has no value named "?(\w+)', words):
        enum = fields[re.sub(r"\[\d+\]", "", path.rpartition(".")[2])].enum_type
        return f"no value {value[1]!r}; give one of {', '.join(enum.values_by_name)}"
    return f"{words[:1].lower()}{words[1:]}"


def descriptor_at(root: Descriptor, path: str) -> Descriptor | None:
    """The message type at a path, or None when the path leaves the schema."""
    here: Descriptor | None = root
    for name in filter(None, re.sub(r"\[\d+\]", "", path).split(".")):
        each = here.fields_by_name.get(name) if here else None
        here = each.message_type if each else None
    return here
