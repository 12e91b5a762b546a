"""JSON values -> message. Every fault is collected."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import Faults, join
from tzmmoe.textformat import named
from tzmmoe.textformat.facts import SchemaFacts
from tzmmoe.textformat.paths import is_map, is_set, rival
from tzmmoe.textformat.scalars import from_json, json_kind


class ObjectReading:
    """Fills a message from a JSON value and adds what is wrong to ``faults``."""

    def __init__(self, facts: SchemaFacts, faults: Faults) -> None:
        self.facts, self.faults = facts, faults

    def fill(self, message: Message, value: Any, path: str) -> None:
        """Set the fields of an object, named as in the schema or in camelCase; null sets nothing.

        ``path`` is that of the message.
        """
        if not isinstance(value, dict):
            self._refuse(path, value, "an object {...}")
            return
        descriptor = message.DESCRIPTOR
        if named.has_any_names(descriptor) and not named.is_spelt_out_in_json(descriptor, value):
            named.fill(message, value, path, self.faults)
            return
        for name, content in value.items():
            field = descriptor.fields_by_name.get(name)
            field = field or descriptor.fields_by_camelcase_name.get(name)
            if field is None:
                self.faults.add(join(path, name), self.facts.unknown_field(name, descriptor))
            elif is_set(message, field.name):
                self.faults.add(join(path, field.name), "is set twice; keep one")
            elif content is not None:
                self.put(message, field, content, join(path, field.name))

    def put(self, message: Message, field: FieldDescriptor, value: Any, path: str) -> None:
        """Set the field at ``path``, or append to it if it is repeated."""
        if other := rival(message, field):
            self.faults.add(path, f"is set, and so is {other}; keep one")
        elif is_map(field):
            self._put_map(message, field, value, path)
        elif field.is_repeated:
            self._put_list(message, field, value, path)
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            self.fill(getattr(message, field.name), value, path)
        elif (scalar := self._scalar(field, value, path)) is not None:
            setattr(message, field.name, scalar)

    def _put_list(self, message: Message, field: FieldDescriptor, value: Any, path: str) -> None:
        if not isinstance(value, list):
            self._refuse(path, value, "a list [...]")
            return
        elements = getattr(message, field.name)
        for index, content in enumerate(value):
            here = f"{path}[{index}]"
            if field.message_type is not None:
                self.fill(elements.add(), content, here)
            elif (scalar := self._scalar(field, content, here)) is not None:
                elements.append(scalar)

    def _put_map(self, message: Message, field: FieldDescriptor, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            self._refuse(path, value, "an object {...}")
            return
        entry = field.message_type.fields_by_name
        for name, content in value.items():
            key = self._scalar(entry["key"], name, path)
            scalar = self._scalar(entry["value"], content, join(path, name))
            if key is not None and scalar is not None:
                getattr(message, field.name)[key] = scalar

    def _scalar(self, field: FieldDescriptor, value: Any, path: str) -> Any:
        """The field's value; None if it is faulty."""
        try:
            return from_json(field, value, self.facts)
        except ValueError as error:
            self.faults.add(path, str(error))
            return None

    def _refuse(self, path: str, value: Any, form: str) -> None:
        self.faults.add(path, f"is {json_kind(value)}; give {form}")
