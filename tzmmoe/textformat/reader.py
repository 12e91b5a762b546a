"""Config text or JSON -> message. Every fault is collected, each with its line."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import Fault, Faults, join
from tzmmoe.textformat import json_text, named
from tzmmoe.textformat.facts import SchemaFacts
from tzmmoe.textformat.objects import ObjectReading
from tzmmoe.textformat.outline import CURVED, Break, Node, Outline
from tzmmoe.textformat.paths import is_map, rival
from tzmmoe.textformat.scalars import from_token

EMPTY = "is empty; write a config"


def parse(path: Path, text: str, message: Message, facts: SchemaFacts, faults: Faults) -> Outline:
    """Fill ``message`` from the text of a file, without what is faulty."""
    if path.suffix == ".json":
        return _parse_json(path, text, message, facts, faults)
    outline = Outline(str(path), text)
    faults.extend(TextReading(outline, facts).into(message))
    if not outline.fields and not outline.breaks:
        faults.append(Fault("", EMPTY, where=str(path), lost=True))
    return outline


def read(text: str, message: Message, facts: SchemaFacts, faults: Faults) -> None:
    """Fill ``message`` from a text that is not a file, such as that of a flag."""
    faults.extend(replace(f, where="") for f in TextReading(Outline("", text), facts).into(message))


def _parse_json(
    path: Path, text: str, message: Message, facts: SchemaFacts, faults: Faults
) -> Outline:
    words, line, value = "", 1, {}
    try:
        value = json_text.parse(text)
    except json.JSONDecodeError as error:
        words, line = f"is not JSON: {error.msg}", error.lineno
        if CURVED.match(text, error.pos):
            words = f'column {error.colno}: is not JSON: a curved quote; write " in its place'
    except ValueError as error:
        words = str(error)
    if not isinstance(value, dict):
        words = 'is not a JSON object; write {"name": value, ...}'
    elif not value:
        words = words or EMPTY
    if words:
        faults.append(Fault("", words, where=f"{path}:{line}", lost=True))
        return Outline(str(path), "")
    outline, in_objects = Outline(str(path), text, json=True), Faults()
    ObjectReading(facts, in_objects).fill(message, value, "")
    faults.extend(replace(f, where=outline.locate(f.path), lost=True) for f in in_objects)
    return outline


class TextReading:
    """Fills a message from an outline, collecting the faults with their positions."""

    def __init__(self, outline: Outline, facts: SchemaFacts) -> None:
        self.outline, self.facts = outline, facts
        self.faults: list[tuple[int, Fault]] = []

    def into(self, message: Message) -> list[Fault]:
        """Fill ``message``; the faults in the order of the text, up to where it breaks off."""
        self._fill(message, self.outline.fields, "")
        if self.outline.breaks:
            self._break_off(message.DESCRIPTOR, *self.outline.breaks)
        return [fault for _, fault in sorted(self.faults, key=lambda placed: placed[0])]

    def _break_off(self, root: Descriptor, first: Break, *others: Break) -> None:
        """Keep the faults before the first break, and add the breaks themselves."""
        words, start, end = first.text, first.position, first.position
        misplaced = next(_misplaced(self.outline.fields, [root], None), None)
        if first.kind == "unclosed" and misplaced:
            owner, node = misplaced
            line = self.outline.line(node.start)
            hint = f"is a brace missing before {node.name} in line {line}?"
            words = f"{owner.name} is not closed; {hint}"
            start, end = owner.start, node.start
        if first.kind == "quote":
            end = self.outline.start_of_line(first.position)
        self.faults = [(position, fault) for position, fault in self.faults if position < end]
        self._add(start, "", words)
        for other in others if first.kind == "quote" else ():
            self._add(other.position, "", other.text)

    def _add(self, position: int, path: str, words: str, *, lost: bool = True) -> None:
        where = self.outline.where(position)
        self.faults.append((position, Fault(path, words, where=where, lost=lost)))

    def _fill(self, message: Message, nodes: list[Node], path: str) -> None:
        kind = message.DESCRIPTOR
        if named.has_any_names(kind) and not named.is_spelt_out(kind, nodes):
            named.fill(message, named.from_nodes(nodes, path, self._add), path, Faults())
            return
        others = self.facts.read_as(kind, [node.name for node in nodes])
        for node in (replace(n, name=others.get(n.name, n.name)) for n in nodes):
            here = join(path, node.name)
            field = message.DESCRIPTOR.fields_by_name.get(node.name)
            if field is None:
                words = self.facts.unknown_field(node.name, message.DESCRIPTOR)
                self._add(node.start, here, words)
            elif node.equals or (field.message_type is None and not node.colon):
                self._add(node.start, here, f"write {_form(field)}")
            elif not self._refused(message, field, node, here):
                for element in [node] if node.elements is None else node.elements:
                    self._element(message, field, element, here)

    def _refused(self, message: Message, field: FieldDescriptor, node: Node, path: str) -> bool:
        """Whether the field clashes with what the message holds so far, or with its own type."""
        if other := rival(message, field):
            self._add(node.start, path, self.facts.clash(message.DESCRIPTOR, field.name, other))
        elif not field.is_repeated and message.HasField(field.name):
            self._add(node.start, path, "is set twice; keep one", lost=False)
        elif not field.is_repeated and node.elements is not None:
            self._add(node.start, path, "is a list; give one value")
        else:
            return False
        return True

    def _element(self, message: Message, field: FieldDescriptor, node: Node, path: str) -> None:
        """One value of the field."""
        if field.is_repeated:
            path += node.path[node.path.rindex("[") :]
        if node.comma_missing:
            self._add(node.start, path, "a comma, or ], is missing after this element")
        if node.elements is not None:
            self._add(node.start, path, "is a list within a list; give one value")
            return
        if field.message_type is not None:
            self._message(message, field, node, path)
            return
        if node.fields is not None:
            self._add(node.start, path, f"has no fields; write {_form(field)}")
        elif node.value is None:
            self._add(node.start, path, "has no value")
        else:
            try:
                value = from_token(field, node.value, self.facts)
            except ValueError as error:
                self._add(node.start, path, str(error))
                return
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)

    def _message(self, owner: Message, field: FieldDescriptor, node: Node, path: str) -> None:
        if is_map(field):
            entry = getattr(owner, field.name).GetEntryClass()()
            self._fill(entry, node.fields or [], path)
            getattr(owner, field.name)[entry.key] = entry.value
        elif field.is_repeated:
            self._fill(getattr(owner, field.name).add(), node.fields or [], path)
        else:
            inner = getattr(owner, field.name)
            inner.SetInParent()
            self._fill(inner, node.fields or [], path)
        if node.fields is None:
            self._add(node.start, path, f"has fields; write {_form(field)}")


def _misplaced(
    nodes: list[Node], owners: list[Descriptor], owner: Node | None
) -> Iterator[tuple[Node, Node]]:
    """Each field that belongs to a message further out, after the message it stands in, whose
    closing brace must be missing."""
    for node in nodes:
        field = owners[-1].fields_by_name.get(node.name)
        if field is None:
            if any(node.name in further.fields_by_name for further in owners[:-1]):
                yield owner, node
        elif field.message_type is not None:
            for element in [node] if node.elements is None else node.elements:
                inner = [*owners, field.message_type]
                yield from _misplaced(element.fields or [], inner, element)


def _form(field: FieldDescriptor) -> str:
    """The syntax of the field."""
    return f"{field.name}: VALUE" if field.message_type is None else f"{field.name} {{ ... }}"
