"""Changes to a config from the command line: ``--set PATH=VALUE`` and ``--edit_config_json``.

A path is field names joined by dots. A repeated field takes ``[2]``, ``[:]``, ``[1:3]`` or
``[feature_name=age]`` (elements, or the one field that their oneof sets, whose field has that
value; several with ``;``). Without index, the value replaces the whole field.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import json_format, text_encoding, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import ConfigError, Faults, did_you_mean

# Setting one of these clears the others.
EXCLUSIVE = {
    "TrainConfig": [
        {"num_steps", "num_epochs"},
        {"save_checkpoints_steps", "save_checkpoints_epochs"},
    ],
    "IdFeature": [{"hash_bucket_size", "num_buckets", "vocab_list", "vocab_dict", "vocab_file"}],
    "DataConfig": [{"input_fields", "input_fields_str"}, {"fg_mode", "fg_encoded"}],
}
STEP = re.compile(r"(?P<name>\w+)(?:\[(?P<index>[^\]]*)\])?(?:\.|$)")


def apply(
    pipeline: Message, settings: Iterable[str], edits_json: str | None, faults: Faults
) -> None:
    """Apply ``PATH=VALUE`` settings, then a JSON object of edits."""
    for setting in settings:
        path, equals, value = _split(setting)
        if not equals:
            faults.add("--set", f"{setting!r} is no setting; write PATH=VALUE")
            continue
        _collect("--set", pipeline, path, value, faults)
    if edits_json is None:
        return
    try:
        edits = json.loads(edits_json)
    except json.JSONDecodeError as error:
        faults.add("--edit_config_json", f"no JSON: {error}")
        return
    if not isinstance(edits, dict):
        faults.add("--edit_config_json", 'write {"path": value, ...}')
        return
    for path, value in edits.items():
        _collect("--edit_config_json", pipeline, path, value, faults)


def _collect(flag: str, pipeline: Message, path: str, value: Any, faults: Faults) -> None:
    try:
        edit(pipeline, path, value)
    except ConfigError as error:
        for fault in error.faults:
            faults.add(f"{flag} {fault.path}", fault.text)


def _split(setting: str) -> tuple[str, str, str]:
    """At the first ``=`` outside brackets."""
    depth = 0
    for position, character in enumerate(setting):
        depth += (character == "[") - (character == "]")
        if character == "=" and depth == 0:
            return setting[:position].strip(), "=", setting[position + 1 :].strip()
    return setting, "", ""


def edit(pipeline: Message, path: str, value: Any) -> None:
    """Set the field or fields at ``path``. ``value`` is text, or what JSON gives.

    Raises:
        ConfigError: there is no such field or element, or the value does not fit it.
    """
    targets = list(_targets(pipeline, path))
    if not targets:
        raise ConfigError.at(path, "nothing there; no element fits the index")
    for owner, field, index in targets:
        try:
            _put(owner, field, index, value)
        except (ValueError, TypeError, json_format.ParseError, text_format.ParseError) as error:
            raise ConfigError.at(path, f"cannot be {value!r}: {error}") from error
        for group in EXCLUSIVE.get(owner.DESCRIPTOR.name, ()):
            if field.name in group:
                for other in group - {field.name}:
                    owner.ClearField(other)


def _targets(root: Message, path: str) -> Iterator[tuple[Message, FieldDescriptor, int | None]]:
    """The fields that a path names, each with its owner; with an index, one element of it."""
    steps = list(STEP.finditer(path))
    if not steps or "".join(step.group() for step in steps) != path:
        raise ConfigError.at(path, "no path; write names joined by dots, such as a.b[0].c")
    owners = [root]
    for depth, step in enumerate(steps):
        found = []
        for owner in owners:
            field = _field(owner, step["name"], path)
            last = depth == len(steps) - 1
            if step["index"] is None and (last or not field.is_repeated):
                found.append((owner, field, None))
                continue
            elements = getattr(owner, field.name)
            if not field.is_repeated:
                raise ConfigError.at(path, f"{step['name']} is not repeated; leave out its index")
            if step["index"] is None:
                raise ConfigError.at(path, f"{step['name']} is repeated; say which one, as [0]")
            found += [(owner, field, i) for i in _chosen(elements, step["index"], path)]
        if last:
            yield from found
            return
        if any(field.message_type is None for _, field, _ in found):
            raise ConfigError.at(path, f"{step['name']} has no fields")
        owners = [
            getattr(owner, field.name) if i is None else getattr(owner, field.name)[i]
            for owner, field, i in found
        ]


def _field(owner: Message, name: str, path: str) -> FieldDescriptor:
    fields = owner.DESCRIPTOR.fields_by_name
    if name not in fields:
        raise ConfigError.at(path, f"no field {name!r}{did_you_mean(name, fields)}")
    return fields[name]


def _chosen(elements: Any, index: str, path: str) -> list[int]:
    """Numbers of the elements that an index names."""
    if re.fullmatch(r"-?\d+", index):
        if not -len(elements) <= int(index) < len(elements):
            raise ConfigError.at(path, f"no element [{index}]; there are {len(elements)}")
        return [int(index) % len(elements)]
    if ends := re.fullmatch(r"(-?\d*):(-?\d*)", index):
        bounds = [int(end) if end else None for end in ends.groups()]
        return list(range(len(elements)))[slice(*bounds)]
    conditions = [part.partition("=")[::2] for part in index.split(";")]
    if not all(name and value for name, value in conditions):
        raise ConfigError.at(path, f"no index [{index}]; write [0], [:], [1:3] or [name=value]")
    return [
        number
        for number, element in enumerate(elements)
        if all(value in _values(element, name) for name, value in conditions)
    ]


def _values(element: Any, name: str) -> list[str]:
    """The field's value as text, in the element itself or in the message its oneof sets."""
    if not isinstance(element, Message):
        return [str(element)]
    inner = [value for field, value in element.ListFields() if isinstance(value, Message)]
    holders = [each for each in (element, *inner) if name in each.DESCRIPTOR.fields_by_name]
    return [str(getattr(holder, name)) for holder in holders if holder.HasField(name)]


def _put(owner: Message, field: FieldDescriptor, index: int | None, value: Any) -> None:
    if index is not None:
        elements = getattr(owner, field.name)
        if field.message_type is not None:
            elements[index].Clear()
            _fill(elements[index], value)
        else:
            elements[index] = _scalar(field, value)
        return
    if field.message_type is not None and not field.is_repeated:
        message = getattr(owner, field.name)
        message.Clear()
        message.SetInParent()
        _fill(message, value)
        return
    if field.is_repeated and field.message_type is not None:
        values = value if isinstance(value, list | dict) else None
        if values is None:
            replacement = type(owner)()
            text_format.Parse(_each(field.name, value), replacement)
        else:
            replacement = json_format.ParseDict({field.name: values}, type(owner)())
        owner.ClearField(field.name)
        getattr(owner, field.name).MergeFrom(getattr(replacement, field.name))
        return
    if field.is_repeated:
        values = value if isinstance(value, list) else _listed(str(value))
        replaced = [_scalar(field, each) for each in values]
        owner.ClearField(field.name)
        getattr(owner, field.name).extend(replaced)
        return
    setattr(owner, field.name, _scalar(field, value))


def _each(name: str, text: str) -> str:
    """``{...} {...}`` or ``auc {}`` as elements of the field ``name``."""
    text = text.strip()
    if text.startswith("["):
        return f"{name}: {text}"
    if text.startswith("{"):
        return " ".join(f"{name} {part}" for part in re.findall(r"\{(?:[^{}]|\{[^{}]*\})*\}", text))
    return f"{name} {{ {text} }}"


def _fill(message: Message, value: Any) -> None:
    if isinstance(value, dict):
        json_format.ParseDict(value, message)
        return
    text = str(value).strip()
    text_format.Parse(text[1:-1] if text.startswith("{") and text.endswith("}") else text, message)


def _listed(text: str) -> list[str]:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return [part.strip().strip("\"'") for part in inner.split(",")] if inner.strip() else []


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    """The value as the field's type has it. Raises ValueError when it does not fit."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        names = field.enum_type.values_by_name
        if str(value) not in names:
            raise ValueError(f"give one of {', '.join(names)}{did_you_mean(str(value), names)}")
        return names[str(value)].number
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        words = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() not in words:
            raise ValueError("give true or false")
        return words[str(value).lower()]
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = str(value)
        quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
        return text_encoding.CUnescape(text[1:-1]).decode() if quoted else text
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("give a whole number")
    return int(value)
