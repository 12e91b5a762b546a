"""Config text -> a tree of its fields, each with its position, without the schema.

Reads protobuf's text format, and well-formed JSON, whose names are quoted.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from tzmmoe.textformat.scalars import CURVED_QUOTES

TOKEN = re.compile(
    r"""(?P<skip>(?:\s|\#[^\n]*)+)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<open>["'][^\n]*)
      | (?P<word>[^\s\#"'{}<>\[\]:;,=]+)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
CURVED = re.compile(f"[{CURVED_QUOTES}]")
CURVED_SHOWN = "“ ” ‘ ’"
CLOSING = {"{": "}", "<": ">"}
DEEPEST = 50  # far below Python's recursion limit, far above any config


@dataclass
class Node:
    """One field: ``name: value``, ``name { fields }`` or ``name: [ elements ]``.

    ``path`` has an index at every name, as in ``a[0].b[1]``; ``value`` is as written. If the value
    is missing, ``value``, ``fields`` and ``elements`` are all None. Elements of a list are nodes
    too.
    """

    name: str
    path: str
    start: int
    colon: bool = False
    equals: bool = False  # in place of the colon
    value: str | None = None
    fields: list["Node"] | None = None
    elements: list["Node"] | None = None
    comma_missing: bool = False  # after this element

    def walk(self) -> Iterator["Node"]:
        yield self
        for node in (*(self.fields or ()), *(self.elements or ())):
            yield from node.walk()


@dataclass(frozen=True)
class Break:
    """Where the structure of the text breaks: an unpaired ``quote``, an ``unclosed`` brace or a
    ``stray`` mark."""

    kind: str
    position: int
    text: str


@dataclass
class Outline:
    """The fields of a text, and where its structure breaks."""

    name: str
    text: str
    json: bool = False
    fields: list[Node] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tokens = [m for m in TOKEN.finditer(self.text) if m.lastgroup != "skip"]
        self._next = 0
        self._lines = [match.end() for match in re.finditer("\n", self.text)]
        if self.json:
            self._next = 1
        self.fields = self._message("", opened=self._tokens[0] if self.json else None)
        quotes = [
            Break("quote", token.start(), "this quote is not closed on its line")
            for token in self._tokens
            if token.lastgroup == "open"
        ]
        foreign = () if self.json else self._foreign_marks()
        quotes = sorted([*quotes, *foreign], key=_position)
        self.breaks = quotes or sorted(self.breaks, key=_position)
        nodes = [node for top in self.fields for node in top.walk()]
        self._starts = {node.path: node.start for node in reversed(nodes)}

    def __reduce__(self) -> tuple:
        return Outline, (self.name, self.text, self.json)  # the rest follows from the text

    def where(self, position: int) -> str:
        """``file:line``."""
        return f"{self.name}:{self.line(position)}"

    def line(self, position: int) -> int:
        return bisect_right(self._lines, position) + 1

    def start_of_line(self, position: int) -> int:
        return ([0, *self._lines])[self.line(position) - 1]

    def locate(self, path: str) -> str:
        """``file:line`` of a path, or of the innermost field around it that is in the text."""
        if path.startswith("--"):
            return ""
        names = [name if name.endswith("]") else f"{name}[0]" for name in path.split(".")]
        for length in range(len(names), 0, -1):
            start = self._starts.get(".".join(names[:length]))
            if start is not None:
                return self.where(start)
        return self.name

    def _peek(self, ahead: int = 0) -> str:
        place = self._next + ahead
        return self._tokens[place].group() if place < len(self._tokens) else ""

    def _take(self, *marks: str) -> bool:
        if self._peek() not in marks:
            return False
        self._next += 1
        return True

    def _message(self, parent: str, opened: re.Match | None) -> list[Node]:
        """The fields up to the closing brace, which is consumed."""
        if parent.count(".") > DEEPEST:
            self.breaks.append(Break("stray", opened.start(), "is nested too deeply"))
            self._next = len(self._tokens)
        closing = CLOSING[opened.group()] if opened else ""
        counts: dict[str, int] = {}
        nodes = []
        while self._next < len(self._tokens):
            token = self._tokens[self._next]
            if token.group() == closing:
                self._next += 1
                return nodes
            if token.lastgroup == ("string" if self.json else "word"):
                nodes.append(self._field(parent, counts))
                self._take(",", ";")
                continue
            self.breaks.append(Break("stray", token.start(), _stray(token.group())))
            self._next += 1
        if opened:
            words = f"this {opened.group()} is not closed"
            self.breaks.append(Break("unclosed", opened.start(), words))
        return nodes

    def _field(self, parent: str, counts: dict[str, int]) -> Node:
        token = self._tokens[self._next]
        name = _snake(token.group()[1:-1]) if self.json else token.group()
        self._next += 1
        count = counts.get(name, 0)
        node = Node(name, f"{parent}.{name}[{count}]".lstrip("."), token.start())
        node.colon = self._take(":")
        node.equals = not node.colon and self._take("=")
        if self._peek() != "[":
            self._value(node)
            counts[name] = count + 1
            return node
        self._list(node, f"{parent}.{name}".lstrip("."), count)
        counts[name] = count + len(node.elements)
        return node

    def _list(self, node: Node, path: str, first: int = 0) -> None:
        """Consume a list; its elements have indices after ``path``, from ``first`` on."""
        opened = self._tokens[self._next]
        self._next += 1
        node.elements = []
        while not self._take("]"):
            here = self._tokens[self._next].start() if self._next < len(self._tokens) else 0
            element = Node(node.name, f"{path}[{first + len(node.elements)}]", here, colon=True)
            if path.count("[") > 2 * DEEPEST or not self._value(element):
                words = "this [ is not closed, or lacks a comma"
                self.breaks.append(Break("unclosed", opened.start(), words))
                break
            element.comma_missing = not self._take(",") and self._peek() != "]"
            node.elements.append(element)

    def _value(self, node: Node) -> bool:
        """Consume a value; False if there is none."""
        if self._next == len(self._tokens):
            return False
        token = self._tokens[self._next]
        if token.group() == "[":
            self._list(node, node.path)
            return True
        if token.group() in CLOSING:
            self._next += 1
            node.fields = self._message(node.path, opened=token)
            return True
        following = self._peek(1) in (":", "{", "<") and not self.json
        if token.lastgroup == "word" and not following:
            node.value = token.group()
            self._next += 1
            return True
        parts = []
        while self._next < len(self._tokens) and self._tokens[self._next].lastgroup == "string":
            parts.append(self._peek())
            self._next += 1
        node.value = " ".join(parts) or None
        return bool(parts)

    def _foreign_marks(self) -> Iterator[Break]:
        """The first curved quote, and the first comment as in other languages, outside of strings.

        In a URL, ``//`` follows a colon and does not begin a comment.
        """
        words = [token for token in self._tokens if token.lastgroup == "word"]
        curved = [m.start() for word in words if (m := CURVED.search(self.text, *word.span()))]
        slashes = [word.start() for word in words if re.match("//|/[*]", word[0])]
        comments = [start for start in slashes if not self.text.endswith(":", 0, start)]
        for starts, what in (
            (curved, f"a curved quote; write \" or ' in place of {CURVED_SHOWN}"),
            (comments, "a comment begins with # here, and ends with the line"),
        ):
            if starts:
                column = starts[0] - self.text.rfind("\n", 0, starts[0])
                lines = len({bisect_right(self._lines, start) for start in starts}) - 1
                more = f" (and in {lines:,} more line{'s' * (lines > 1)})" if lines else ""
                yield Break("quote", starts[0], f"column {column}: {what}{more}")


def _position(broken: Break) -> int:
    return broken.position


def _stray(mark: str) -> str:
    if mark in ("}", ">", "]"):
        return f"this {mark} has no opening bracket; remove it, or add one"
    return f"unexpected {mark}; is a name missing before it?"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() if "_" not in name else name
