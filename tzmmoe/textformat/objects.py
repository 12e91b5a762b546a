"""Values of JSON -> message. Every fault is found."""

import json
from collections import Counter
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.config.neighbours import unknown_field
from tzmmoe.errors import Faults, join
from tzmmoe.textformat.paths import is_map, is_set
from tzmmoe.textformat.scalars import from_json, json_kind


def parse(content: str) -> Any:
    """The value of a JSON text. Raises ValueError, JSONDecodeError with a line where it can."""
    try:
        return json.loads(content, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("its brackets lie too deep in each other") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{name!r} is there {count} times in one object")
    return dict(pairs)


def fill(message: Message, value: Any, path: str, faults: Faults) -> None:
    """Set the fields that an object names, as in the schema or in camelCase; null sets nothing.

    ``path`` is the message's own.
    """
    if not isinstance(value, dict):
        faults.add(path, f"is {json_kind(value)}; give an object {{...}}")
        return
    descriptor = message.DESCRIPTOR
    for name, each in value.items():
        known = descriptor.fields_by_name.get(name)
        field = known or descriptor.fields_by_camelcase_name.get(name)
        if field is None:
            faults.add(join(path, name), unknown_field(name, descriptor))
        elif is_set(message, field.name):
            faults.add(join(path, field.name), "is given twice; give it once")
        elif each is not None:
            put(message, field, each, join(path, field.name), faults)


def put(message: Message, field: FieldDescriptor, value: Any, path: str, faults: Faults) -> None:
    """Set the field, which has the path ``path``; a repeated one gets further elements."""
    oneof = field.containing_oneof
    chosen = message.WhichOneof(oneof.name) if oneof is not None else None
    if chosen not in (None, field.name):
        faults.add(path, f"and {chosen} are both set; keep one")
    elif is_map(field):
        _put_map(message, field, value, path, faults)
    elif field.is_repeated:
        _put_list(message, field, value, path, faults)
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
        fill(getattr(message, field.name), value, path, faults)
    else:
        found = _scalar(field, value, path, faults)
        if found is not None:
            setattr(message, field.name, found)


def _put_list(
    message: Message, field: FieldDescriptor, value: Any, path: str, faults: Faults
) -> None:
    if not isinstance(value, list):
        faults.add(path, f"is {json_kind(value)}; give a list [...]")
        return
    elements = getattr(message, field.name)
    for index, each in enumerate(value):
        here = f"{path}[{index}]"
        if field.message_type is not None:
            fill(elements.add(), each, here, faults)
            continue
        found = _scalar(field, each, here, faults)
        if found is not None:
            elements.append(found)


def _put_map(
    message: Message, field: FieldDescriptor, value: Any, path: str, faults: Faults
) -> None:
    if not isinstance(value, dict):
        faults.add(path, f"is {json_kind(value)}; give an object {{...}}")
        return
    names, values = (field.message_type.fields_by_name[part] for part in ("key", "value"))
    for key, each in value.items():
        word = _scalar(names, key, path, faults)
        found = _scalar(values, each, join(path, key), faults)
        if word is not None and found is not None:
            getattr(message, field.name)[word] = found


def _scalar(field: FieldDescriptor, value: Any, path: str, faults: Faults) -> Any:
    """The field's value, None after a fault."""
    try:
        return from_json(field, value)
    except ValueError as error:
        faults.add(path, str(error))
        return None
