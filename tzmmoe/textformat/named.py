"""Messages whose fields have any names: ``args { gamma: 2 names: ["a", "b"] net { units: 8 } }``.

Such a message holds a list ``named_value``, each with a name and one of several kinds of value, as
protobuf itself writes it. Readers accept that form too.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from tzmmoe.errors import Faults, join
from tzmmoe.textformat.outline import Node, Outline
from tzmmoe.textformat.scalars import QUOTED, in_utf8, json_kind, unquoted

Add = Callable[[int, str, str], None]  # takes a fault's position, path and text
ENTRIES = "named_value"
WORDS = {"true": True, "false": False, "null": None}
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
WORD = re.compile(r"[A-Za-z_][\w./\-]*")  # a text that the command line need not quote
RANGE = range(-(2**63), 2**63)
FORMS = "give a number, a text in quotes, true, false, null, a list [...] or { ... }"


def has_any_names(descriptor: Descriptor) -> bool:
    return descriptor.fields[0].name == ENTRIES if descriptor.fields else False


def is_spelt_out(descriptor: Descriptor, nodes: Sequence[Node]) -> bool:
    """Whether fields of such a message are in the form that protobuf writes."""
    of_entry = descriptor.fields_by_name[ENTRIES].message_type.fields_by_name
    elements = [e for n in nodes for e in ([n] if n.elements is None else n.elements)]
    return all(node.name == ENTRIES for node in nodes) and all(
        node.fields is not None and all(field.name in of_entry for field in node.fields)
        for node in elements
    )


def is_spelt_out_in_json(descriptor: Descriptor, value: Mapping[str, Any]) -> bool:
    """As ``is_spelt_out``."""
    field = descriptor.fields_by_name[ENTRIES]
    if set(value) not in ({ENTRIES}, {field.camelcase_name}):
        return False
    entries, names = next(iter(value.values())), field.message_type.fields_by_name
    return isinstance(entries, list) and all(
        isinstance(entry, dict) and all(name in names for name in entry) for entry in entries
    )


def from_nodes(nodes: Sequence[Node], path: str, add: Add) -> dict[str, Any]:
    """The values by name, without those that are faulty."""
    values: dict[str, Any] = {}
    for node in nodes:
        here = join(path, node.name)
        if node.name in values:
            add(node.start, here, f"is set twice; write a list, {node.name}: [1, 2]")
        elif node.equals or (node.value is not None and not node.colon):
            add(node.start, here, f"write {node.name}: VALUE")
        else:
            values[node.name] = _from_node(node, here, add)
    return values


def _from_node(node: Node, path: str, add: Add) -> Any:
    if node.fields is not None:
        return from_nodes(node.fields, path, add)
    if node.elements is not None:
        for element in node.elements:
            if element.comma_missing:
                add(element.start, path, "a comma, or ], is missing in this list")
        return [_from_node(e, f"{path}[{i}]", add) for i, e in enumerate(node.elements)]
    try:
        return from_text(node.value or "")
    except ValueError as error:
        add(node.start, path, str(error))
        return None


def from_text(token: str) -> Any:
    """The value of a quoted text, a number, or one of a few words. Raises ValueError."""
    if QUOTED.match(token):
        return unquoted(token)
    if token.lower() in WORDS:
        return WORDS[token.lower()]
    if WHOLE.fullmatch(token) and int(token) in RANGE:
        return int(token)
    if NUMBER.fullmatch(token) and not WHOLE.fullmatch(token) and math.isfinite(float(token)):
        return float(token)
    raise ValueError(f"is {token or 'empty'}; {FORMS}")


def fill(message: Message, values: Any, path: str, faults: Faults) -> None:
    """Set the values of such a message; what does not fit is added to ``faults``."""
    if not isinstance(values, dict):
        faults.add(path, f"is {json_kind(values)}; give an object {{...}}")
        return
    for name, value in values.items():
        here = join(path, name)
        try:
            _put(getattr(message, ENTRIES).add(name=in_utf8(name)), value, here, faults)
        except ValueError as error:
            faults.add(here, str(error))


def _put(entry: Message, value: Any, path: str, faults: Faults) -> None:
    """Raises ValueError."""
    if isinstance(value, bool):
        entry.truth = value
    elif isinstance(value, int) and value in RANGE:
        entry.whole = value
    elif isinstance(value, float) and math.isfinite(value):
        entry.number = value
    elif isinstance(value, int | float):
        raise ValueError(f"is {value}; give a finite number, a whole one within 64 bits")
    elif isinstance(value, str):
        entry.text = in_utf8(value)
    elif isinstance(value, list):
        entry.list.SetInParent()
        for index, item in enumerate(value):
            _put(entry.list.item.add(), item, f"{path}[{index}]", faults)
    elif value is not None:
        entry.args.SetInParent()
        fill(entry.args, value, path, faults)


def split(root: Descriptor, path: str) -> tuple[str, list[str]]:
    """A path of an edit up to the first message whose fields have any names, and what follows it;
    nothing if it ends before."""
    descriptor, steps = root, path.split(".")
    for index, step in enumerate(steps):
        field = descriptor.fields_by_name.get(step.partition("[")[0])
        if field is None or field.message_type is None:
            break
        descriptor = field.message_type
        if has_any_names(descriptor):
            return ".".join(steps[: index + 1]), [step for step in steps[index + 1 :] if step]
    return path, []


def set_value(message: Message, names: Sequence[str], value: Any, path: str) -> None:
    """Set one value in such a message, which lies under ``names``; an empty text removes it.

    Raises:
        ConfigError: it is no value. Then nothing has changed.
    """
    faults, fresh = Faults(), type(message)()
    if value != "":
        outer = path.removesuffix(names[-1]).removesuffix(".")
        fill(fresh, {names[-1]: _edited(value, path, faults)}, outer, faults)
    faults.stop()
    for name in names[:-1]:
        entry = next((e for e in getattr(message, ENTRIES) if e.name == name), None)
        entry = entry or getattr(message, ENTRIES).add(name=name)
        entry.args.SetInParent()
        message = entry.args
    message.SetInParent()
    new = {entry.name: entry for entry in getattr(fresh, ENTRIES)}
    kept = [
        new.pop(e.name, e) for e in getattr(message, ENTRIES) if value != "" or e.name != names[-1]
    ]
    message.CopyFrom(type(message)(**{ENTRIES: [*kept, *new.values()]}))


def _edited(value: Any, path: str, faults: Faults) -> Any:
    """A value of the command line: in the syntax of a config, where a word needs no quotes."""
    if not isinstance(value, str):
        return value
    if WORD.fullmatch(value) and value.lower() not in (*WORDS, "nan", "inf", "infinity"):
        return value
    outline = Outline("", f"value: {value}")
    if outline.breaks or len(outline.fields) != 1:
        faults.add(path, f"is {value}; {FORMS}")
        return None
    return _from_node(outline.fields[0], path, lambda _, where, words: faults.add(where, words))
