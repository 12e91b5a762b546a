"""Edits of a config from the command line: ``--set PATH=VALUE`` and ``--edit_config_json``.

``paths`` describes what a path may name. Without an index, the value replaces the whole field. A
value has the syntax of a config or of JSON: ``{lr: 0.1}``, ``auc {}``, ``[{"auc": {}}]``,
``[1, 2]``, ``a,b``. An empty value unsets a message and removes an element of a list.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import ConfigError, Faults, join, lies_in
from tzmmoe.textformat import json_text, named, paths, reader
from tzmmoe.textformat.facts import SchemaFacts
from tzmmoe.textformat.objects import ObjectReading
from tzmmoe.textformat.outline import TOKEN
from tzmmoe.textformat.paths import Target, is_map, is_set
from tzmmoe.textformat.scalars import from_text

log = logging.getLogger(__name__)

Settings = str | Iterable[str] | Mapping[str, Any]  # "a=1", ["a=1", "b.c=2"] or {"a": 1, "b.c": 2}


class Edit(NamedTuple):
    """A change of the field or fields at ``path``, made by ``flag``. ``value`` is text, or a JSON
    value."""

    flag: str
    path: str
    value: Any


def from_flags(
    settings: Settings, flags: Mapping[str, str], edits_json: str | None, faults: Faults
) -> list[Edit]:
    """``PATH=VALUE`` settings, or values by path; flags by their fields; then a JSON object of
    edits."""
    edits = []
    if isinstance(settings, Mapping):
        edits += [Edit("--set", path, _plain(value)) for path, value in settings.items()]
        settings = ()
    for setting in [settings] if isinstance(settings, str) else settings:
        path, equals, value = _split(setting)
        if equals:
            edits.append(Edit("--set", path, value))
        else:
            faults.add("--set", f"{setting!r} lacks a value; write PATH=VALUE")
    edits += [Edit(f"--{path.rpartition('.')[2]}", path, text) for path, text in flags.items()]
    json_edits = _parsed(edits_json, faults) if edits_json is not None else {}
    return edits + [Edit("--edit_config_json", path, value) for path, value in json_edits.items()]


def _plain(value: Any) -> Any:
    """A value of Python as JSON has it: without tuples, paths, and numbers of numpy."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    is_plain = value is None or isinstance(value, str | bool | int | float)
    return value if is_plain else getattr(value, "item", lambda: str(value))()


@dataclass
class Changes:
    """What edits did: the path of each changed field with its flag, and of each removed element."""

    changed: list[tuple[str, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def remove(self, path: str) -> None:
        """The element at the path is gone, and those after it have moved up."""
        self.changed = [
            (_moved(changed, path, -1), flag)
            for changed, flag in self.changed
            if not lies_in(changed, path)
        ]
        self.removed.append(path)

    def written(self, path: str) -> str:
        """The path that a field had before any element was removed."""
        for removed in reversed(self.removed):
            path = _moved(path, removed, 1)
        return path


def _moved(path: str, removed: str, by: int) -> str:
    """A path whose index moves because an element before it is, or was, removed."""
    owner, _, index = removed.removesuffix("]").rpartition("[")
    match = re.match(rf"{re.escape(owner)}\[(\d+)\]", path)
    if match is None or int(match[1]) < int(index):
        return path
    return f"{owner}[{int(match[1]) + by}]{path[match.end() :]}"


def apply(edits: Iterable[Edit], pipeline: Message, facts: SchemaFacts, faults: Faults) -> Changes:
    """Apply the edits in order."""
    changes = Changes()
    for flag, path, value in edits:
        try:
            if value in ("", None) and (elements := _elements(pipeline, path, facts)):
                for target in reversed(elements):  # so that the others keep their places
                    del getattr(target.owner, target.field.name)[target.index]
                    changes.remove(target.full_path)
                continue
            earlier = {changed for changed, _ in changes.changed}
            edited = edit(pipeline, path, value, facts, earlier)
            changes.changed += [(full, flag) for full in edited]
        except ConfigError as error:
            for fault in error.faults:
                faults.add(f"{flag} {fault.path}", fault.text)
    return changes


def _elements(pipeline: Message, path: str, facts: SchemaFacts) -> list[Target]:
    """The elements that a path names; none if it names a field."""
    outer, names = named.split(pipeline.DESCRIPTOR, path)
    targets = [] if names else list(paths.targets(pipeline, outer, facts))
    return [] if any(target.index is None for target in targets) else targets


def _parsed(edits_json: str, faults: Faults) -> dict[str, Any]:
    words = "is not a JSON object"
    try:
        edits = json_text.parse(edits_json)
        if isinstance(edits, dict):
            return edits
    except ValueError as error:
        words = f"is not JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error)
    faults.add("--edit_config_json", f'{words}; write {{"path": value, ...}}')
    return {}


def _split(setting: str) -> tuple[str, str, str]:
    """At the first ``=`` outside brackets."""
    depth = 0
    for position, character in enumerate(setting):
        depth += (character == "[") - (character == "]")
        if character == "=" and depth == 0:
            return setting[:position].strip(), "=", setting[position + 1 :].strip()
    return setting, "", ""


def edit(
    pipeline: Message, path: str, value: Any, facts: SchemaFacts, earlier: Set[str] = frozenset()
) -> list[str]:
    """Set the field or fields at ``path``; their full paths. An empty text clears a message.

    ``earlier``: the full paths that earlier edits set.

    Raises:
        ConfigError: the field or element does not exist, or the value does not fit it. Then nothing
            has changed.
    """
    outer, names = named.split(pipeline.DESCRIPTOR, path)
    targets = list(paths.targets(pipeline, outer, facts))
    if not targets:
        raise ConfigError.at(path, "does not exist; no element matches the index")
    if names:
        for target in targets:
            owner = getattr(target.owner, target.field.name)
            named.set_value(owner, names, value, path)
        return [join(target.full_path, *names) for target in targets]
    fields = [target.field for target in targets]
    if value == "" and all(f.message_type is not None and not f.is_repeated for f in fields):
        for target in targets:
            target.owner.ClearField(target.field.name)
        return [target.full_path for target in targets]
    fresh = type(targets[0].owner)()
    _Value(targets[0], path, facts).read_into(fresh, value)
    for target in targets:
        _write(target, fresh, facts, earlier)
    return [target.full_path for target in targets]


@dataclass
class _Value:
    """The new value of a target; ``path`` is that of the edit."""

    target: Target
    path: str
    facts: SchemaFacts

    def read_into(self, message: Message, value: Any) -> None:
        """Set the target's field in an empty message of its owner's type. Raises ConfigError."""
        field, single, faults = self.target.field, self.target.index is not None, Faults()
        is_text = field.message_type is None and (single or not field.is_repeated)
        if isinstance(value, str) and not is_text and value.startswith(("{", "[")):
            with suppress(ValueError):  # not JSON, so it has the syntax of a config
                value = json_text.parse(value)
        if not isinstance(value, str):
            if field.is_repeated and not is_map(field) and (single or not isinstance(value, list)):
                value = [value]
            ObjectReading(self.facts, faults).put(message, field, value, self.path)
        elif field.message_type is not None:
            self._read_message(message, value, faults)
        else:
            self._read_scalars(message, [value] if is_text else _listed(value), faults)
        faults.stop()
        if single and len(getattr(message, field.name)) != 1:
            raise ConfigError.at(self.path, "is a single element; give one value")

    def _read_message(self, message: Message, text: str, faults: Faults) -> None:
        field, inner_faults = self.target.field, Faults()
        reader.read(_as_fields(field, text), message, self.facts, inner_faults)
        inner = field.name if self.target.index is None else f"{field.name}[0]"
        for fault in inner_faults:
            if lies_in(fault.path, inner):
                faults.add(self.path + fault.path.removeprefix(inner), fault.text)
            else:
                faults.add(self.path, str(fault))
        others = [other.name for other, _ in message.ListFields() if other != field]
        if others:
            faults.add(self.path, f"is one field; remove {others[0]} after its closing brace")

    def _read_scalars(self, message: Message, texts: Sequence[str], faults: Faults) -> None:
        field = self.target.field
        try:
            values = [from_text(field, text, self.facts) for text in texts]
        except ValueError as error:
            faults.add(self.path, str(error))
            return
        if field.is_repeated:
            getattr(message, field.name).extend(values)
        else:
            setattr(message, field.name, values[0])


def _write(target: Target, message: Message, facts: SchemaFacts, earlier: Set[str]) -> None:
    """Copy the target's field from a message, which has no other."""
    owner, name = target.owner, target.field.name
    if target.index is not None:
        elements, [value] = getattr(owner, name), getattr(message, name)
        if isinstance(value, Message):
            elements[target.index].CopyFrom(value)
        else:
            elements[target.index] = value
        return
    owner.ClearField(name)
    owner.MergeFrom(message)
    if is_set(owner, name):
        stays = facts.replaced(owner.DESCRIPTOR, name)
        for rival in facts.rivals(owner.DESCRIPTOR, name):
            if not (rival in stays and join(target.path, rival) in earlier):
                if is_set(owner, rival):
                    log.info("%s: removed, since %s was set", join(target.path, rival), name)
                owner.ClearField(rival)


def _as_fields(field: FieldDescriptor, value: str) -> str:
    """``{...} {...}`` or ``auc {}`` as the text of a message that holds the field."""
    if value.startswith("["):
        return f"{field.name}: {value}"
    if not value.startswith("{"):
        return f"{field.name} {{ {value}\n}}" if value or not field.is_repeated else ""
    parts, depth = [], 0
    for token in TOKEN.finditer(value):
        parts.append(f"{field.name} {{" if token[0] == "{" and not depth else token[0])
        depth += (token[0] == "{") - (token[0] == "}")
    return "".join(parts)


def _listed(value: str) -> list[str]:
    """``[a, b]`` or ``a, b`` -> texts; quotes stay."""
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    return [part.strip() for part in inner.split(",")] if inner.strip() else []
