"""Text of a scalar field -> its value. The message of a ValueError continues the field's path."""

import json
import re
from typing import Any

from google.protobuf import text_encoding
from google.protobuf.descriptor import FieldDescriptor

from tzmmoe.textformat.facts import SchemaFacts

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
TRUE, FALSE = ("true", "t", "1"), ("false", "f", "0")
QUOTED = re.compile(r""" "((?:\\.|[^"\\])*)" | '((?:\\.|[^'\\])*)' """, re.VERBOSE | re.DOTALL)
CURVED_QUOTES = "“”„‟‘’‚‛"
CURVED_TEXT = re.compile(f"[{CURVED_QUOTES}](.*)[{CURVED_QUOTES}]", re.DOTALL)
ESCAPES = set("abfnrtvxuU01234567\\'\"")  # what may follow a backslash


def from_token(field: FieldDescriptor, token: str, facts: SchemaFacts) -> Any:
    """From the text format, where a string is one or several quoted parts."""
    if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        return from_text(field, token, facts)
    if not QUOTED.match(token):
        name = f"{field.containing_type.name}.{field.name}"
        unit = facts.units.get(name, "") if re.fullmatch("[0-9.]+", token) else ""
        raise ValueError(f'is {token}, without quotes; write "{token}{unit}"')
    return unquoted(token)


def unquoted(token: str) -> str:
    """One or several quoted parts, as one text."""
    parts = [double or single for double, single in QUOTED.findall(token)]
    # protobuf keeps the backslash of an unknown escape
    plain = (re.sub(r"\\(.)", lambda m: m[0] if m[1] in ESCAPES else f"\\{m[0]}", p) for p in parts)
    try:
        return b"".join(text_encoding.CUnescape(part) for part in plain).decode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"is {token}, whose escapes are not valid UTF-8") from error


def from_text(field: FieldDescriptor, text: str, facts: SchemaFacts) -> Any:
    """From the command line, where quotes are optional."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if curved := CURVED_TEXT.fullmatch(text):
            raise ValueError(f'is {text}, in curved quotes; write "{curved[1]}"')
        return unquoted(text) if QUOTED.fullmatch(text) else in_utf8(text)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if text.lower() not in TRUE + FALSE:
            raise ValueError(f"is {text or 'empty'}; give true or false")
        return text.lower() in TRUE
    if field.enum_type is not None:
        return _enum(field, text, facts)
    if field.cpp_type in INTEGERS:
        return _integer(field, text, facts)
    return _number(text)


def from_json(field: FieldDescriptor, value: Any, facts: SchemaFacts) -> Any:
    """From JSON; a string field takes numbers too, and any field takes strings."""
    if value is None or isinstance(value, list | dict):
        raise ValueError(f"is {json_kind(value)}; give one value")
    if isinstance(value, str):
        is_text = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
        return in_utf8(value) if is_text else from_text(field, value, facts)
    if isinstance(value, bool):
        if field.cpp_type != FieldDescriptor.CPPTYPE_BOOL:
            raise ValueError(f"is {json.dumps(value)}, but the field is not a bool")
        return value
    if isinstance(value, float) and value.is_integer() and field.cpp_type in INTEGERS:
        value = int(value)
    return from_text(field, json.dumps(value), facts)


def in_utf8(text: str) -> str:
    """The text itself. ValueError if it has no UTF-8 form, as a file name in another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"is {text!r}, which is not valid UTF-8") from error
    return text


def json_kind(value: Any) -> str:
    """A short description of a JSON value."""
    return {list: "a list", dict: "an object"}.get(type(value)) or json.dumps(value)


def _enum(field: FieldDescriptor, text: str, facts: SchemaFacts) -> int:
    names = field.enum_type.values_by_name
    if text in names:
        return names[text].number
    if text.isdecimal() and int(text) in field.enum_type.values_by_number:
        return int(text)
    raise ValueError(facts.unknown_value(text, names))


def _integer(field: FieldDescriptor, text: str, facts: SchemaFacts) -> int:
    octal = re.fullmatch(r"-?0[0-9]+", text)  # as protobuf reads it
    try:
        value = int(text if text.isascii() else "", 8 if octal else 0)
    except ValueError as error:
        raise ValueError(f"is {text or 'empty'}; give a whole number") from error
    low, high = INTEGERS[field.cpp_type]
    if not low <= value <= high:
        least = int(f"{field.containing_type.name}.{field.name}" in facts.positive)
        bounds = f"{least} or more" if value < low == 0 else f"{low} to {high}"
        raise ValueError(f"is {text}; give {bounds}")
    return value


def _number(text: str) -> float:
    plain = re.fullmatch(r"((?!-?0[0-9])[+-]?[0-9.][0-9.eE+-]*)[fF]?", text)
    match = plain or re.fullmatch(r"(-?(?:inf|infinity|nan))f?", text, re.IGNORECASE)
    try:
        return float(match[1] if match else "")
    except ValueError as error:
        raise ValueError(f"is {text or 'empty'}; give a number") from error
