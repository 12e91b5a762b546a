"""Changes to a config from the command line: ``--set PATH=VALUE`` and ``--edit_config_json``.

``paths`` tells what a path may name. Without index, the value replaces the whole field. A value is
written as in a config or as in JSON: ``{lr: 0.1}``, ``auc {}``, ``[{"auc": {}}]``, ``[1, 2]``,
``a,b``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.config.dialects.torcheasyrec import ALIASES
from tzmmoe.errors import ConfigError, Faults, lies_in
from tzmmoe.textformat import objects, paths, reader
from tzmmoe.textformat.outline import TOKEN
from tzmmoe.textformat.paths import Target, is_map, is_set
from tzmmoe.textformat.scalars import from_text

# Setting one of these clears the others.
EXCLUSIVE = {
    "TrainConfig": [
        {"num_steps", "num_epochs"},
        {"save_checkpoints_steps", "save_checkpoints_epochs"},
        *({"optimizer", name} for name in ("sparse_optimizer", "dense_optimizer")),
    ],
    "IdFeature": [{"hash_bucket_size", "num_buckets", "vocab_list", "vocab_dict", "vocab_file"}],
    "RawFeature": [{"boundaries", "autodis", "mlp"}],
    "DataConfig": [{"input_fields", "input_fields_str"}, {"fg_mode", "fg_encoded"}],
    **{name: [{*pair} for pair in aliases.items()] for name, aliases in ALIASES.items()},
}


def apply(
    pipeline: Message,
    settings: Iterable[str],
    flags: Mapping[str, str],
    edits_json: str | None,
    faults: Faults,
) -> list[tuple[str, str]]:
    """Apply ``PATH=VALUE`` settings, flags by their fields, then a JSON object of edits; the paths
    that they changed, each with the flag that did."""
    changed = []
    for setting in settings:
        path, equals, value = _split(setting)
        if equals:
            changed += _collect("--set", pipeline, path, value, faults)
        else:
            faults.add("--set", f"{setting!r} is no setting; write PATH=VALUE")
    for path, value in flags.items():
        changed += _collect(f"--{path.rpartition('.')[2]}", pipeline, path, value, faults)
    for path, value in _edits(edits_json, faults).items():
        changed += _collect("--edit_config_json", pipeline, path, value, faults)
    return changed


def _edits(edits_json: str | None, faults: Faults) -> dict[str, Any]:
    if edits_json is None:
        return {}
    try:
        edits = objects.parse(edits_json)
    except ValueError as error:
        words = f"is no JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error)
        faults.add("--edit_config_json", f'{words}; write {{"path": value, ...}}')
        return {}
    if not isinstance(edits, dict):
        faults.add("--edit_config_json", 'is no object; write {"path": value, ...}')
        return {}
    return edits


def _collect(
    flag: str, pipeline: Message, path: str, value: Any, faults: Faults
) -> list[tuple[str, str]]:
    try:
        return [(changed, flag) for changed in edit(pipeline, path, value)]
    except ConfigError as error:
        for fault in error.faults:
            faults.add(f"{flag} {fault.path}", fault.text)
        return []


def _split(setting: str) -> tuple[str, str, str]:
    """At the first ``=`` outside brackets."""
    depth = 0
    for position, character in enumerate(setting):
        depth += (character == "[") - (character == "]")
        if character == "=" and depth == 0:
            return setting[:position].strip(), "=", setting[position + 1 :].strip()
    return setting, "", ""


def edit(pipeline: Message, path: str, value: Any) -> list[str]:
    """Set the field or fields at ``path``; their full paths. ``value`` is text, or what JSON gives;
    the empty text unsets a message, such as early_stopping.

    Raises:
        ConfigError: there is no such field or element, or the value does not fit it. Then nothing
            has changed.
    """
    targets = list(paths.targets(pipeline, path))
    if not targets:
        raise ConfigError.at(path, "is not there; no element fits the index")
    if value == "" and all(_is_one_message(target) for target in targets):
        for target in targets:
            target.owner.ClearField(target.field.name)
        return [target.full_path for target in targets]
    fresh = type(targets[0].owner)()
    faults = Faults()
    _read(fresh, targets[0], value, path, faults)
    faults.stop()
    for target in targets:
        _write(target, fresh)
    return [target.full_path for target in targets]


def _is_one_message(target: Target) -> bool:
    field = target.field
    return field.message_type is not None and not field.is_repeated


def _read(message: Message, target: Target, value: Any, path: str, faults: Faults) -> None:
    """Set the target's field in an empty message of its owner's type."""
    field, single = target.field, target.index is not None
    is_text = field.message_type is None and (single or not field.is_repeated)
    if isinstance(value, str) and not is_text:
        value = _meant(value)
    if not isinstance(value, str):
        if field.is_repeated and not is_map(field) and (single or not isinstance(value, list)):
            value = [value]
        objects.put(message, field, value, path, faults)
    elif field.message_type is not None:
        found = Faults()
        reader.read(_as_fields(field, value), message, found)
        inner = f"{field.name}[0]" if single else field.name
        for fault in found:
            if lies_in(fault.path, inner):
                faults.add(path + fault.path.removeprefix(inner), fault.text)
            else:
                faults.add(path, str(fault))
        others = [each.name for each, _ in message.ListFields() if each != field]
        if others:
            faults.add(path, f"is one field; {others[0]} stands after its closing brace")
    else:
        _read_scalars(message, field, [value] if is_text else _listed(value), path, faults)
    if single and not faults and len(getattr(message, field.name)) != 1:
        faults.add(path, "is one element; give one value")


def _read_scalars(
    message: Message, field: FieldDescriptor, texts: Sequence[str], path: str, faults: Faults
) -> None:
    try:
        values = [from_text(field, each) for each in texts]
    except ValueError as error:
        faults.add(path, str(error))
        return
    if field.is_repeated:
        getattr(message, field.name).extend(values)
    else:
        setattr(message, field.name, values[0])


def _write(target: Target, message: Message) -> None:
    """Take over the field of a message."""
    owner, name = target.owner, target.field.name
    value = getattr(message, name)
    if target.index is not None:
        elements = getattr(owner, name)
        if isinstance(value[0], Message):
            elements[target.index].CopyFrom(value[0])
        else:
            elements[target.index] = value[0]
        return
    owner.ClearField(name)
    if target.field.is_repeated:
        getattr(owner, name).MergeFrom(value)
    elif isinstance(value, Message):
        getattr(owner, name).CopyFrom(value)
        getattr(owner, name).SetInParent()
    else:
        setattr(owner, name, value)
    if is_set(owner, name):
        groups = (group for group in EXCLUSIVE.get(owner.DESCRIPTOR.name, ()) if name in group)
        for other in {each for group in groups for each in group} - {name}:
            owner.ClearField(other)


def _meant(value: str) -> Any:
    """An object or a list, where the text is one in JSON; else the text."""
    if not value.startswith(("{", "[")):
        return value
    try:
        return objects.parse(value)
    except ValueError:
        return value


def _as_fields(field: FieldDescriptor, value: str) -> str:
    """``{...} {...}`` or ``auc {}`` as text of a message that holds the field."""
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
