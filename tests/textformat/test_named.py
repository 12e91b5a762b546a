"""Arguments under any names, from text and JSON, on the command line, and back."""

import json
import math
from pathlib import Path

import pytest
from google.protobuf import json_format, text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import all_say, fails

from tzmmoe.config.facts import FACTS
from tzmmoe.errors import ConfigError, Faults
from tzmmoe.protos.custom_pb2 import Custom
from tzmmoe.registry import fields
from tzmmoe.textformat import edit, reader

VALUES = {
    "whole": 2,
    "number": 2.0,
    "negative": -0.5,
    "small": 1e-9,
    "most": 2**63 - 1,
    "least": -(2**63),
    "text": 'a "b" ü\n',
    "empty": "",
    "on": True,
    "off": False,
    "nothing": None,
    "sizes": [8, 4],
    "none": [],
    "mixed": [1, 2.5, "a", True, None, [1], {"a": 1}],
    "net": {"units": [8], "deep": {"rate": 0.5}},
    "void": {},
}


def parsed(content: str, name: str = "x.config") -> tuple[Custom, Faults]:
    message, faults = Custom(), Faults()
    reader.parse(Path(name), content, message, FACTS, faults)
    return message, faults


def said(content: str, name: str = "x.config") -> list[str]:
    return [str(fault) for fault in parsed(content, name)[1]]


def args(content: str, name: str = "x.config") -> dict:
    message, faults = parsed(content, name)
    assert not faults
    return fields(message)["args"]


def written(value: object) -> str:
    """In text format, as a person writes it."""
    if isinstance(value, dict):
        return f"{{ {' '.join(_field(name, part) for name, part in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _field(name: str, value: object) -> str:
    return f"{name} {written(value)}" if isinstance(value, dict) else f"{name}: {written(value)}"


def same(one: object, other: object) -> bool:
    """Equal with equal types, so that 2 is not 2.0 or true."""
    return repr(one) == repr(other)


def test_every_kind_of_value_is_read_with_its_type_from_text_and_json() -> None:
    assert same(args(f"args {written(VALUES)}"), VALUES)
    assert same(args(f"args: {written(VALUES)}"), VALUES)
    assert same(args(json.dumps({"args": VALUES}), "x.json"), VALUES)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMED = st.dictionaries(st.from_regex(r"[a-zA-Z_]\w{0,6}", fullmatch=True), ANY, max_size=4)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(NAMED)
def test_a_saved_config_gives_the_arguments_back(values) -> None:
    """As protobuf writes it, and as a person does."""
    message, faults = parsed(json.dumps({"class": "a.B", "args": values}), "x.json")
    assert not faults
    assert same(fields(message)["args"], values)
    for content, name in (
        (text_format.MessageToString(message, as_utf8=True), "x.config"),
        (json_format.MessageToJson(message), "x.json"),
        (json_format.MessageToJson(message, preserving_proto_field_name=True), "x.json"),
    ):
        assert same(args(content, name), values)
    assert same(args(f'class: "a.B" args {written(values)}'), values)


def test_an_argument_may_have_the_name_of_a_field_of_the_schema() -> None:
    values = {"name": "a", "class": "b", "args": {"args": 1}, "lr": 2, "named_value": 3}
    assert args(f"args {written(values)}") == values


def test_every_fault_has_its_line() -> None:
    content = """args {
      a: word
      b: 1
      b: 2
      c 3
      d: [1 2]
      e: 1e999
      f: 007
      g: nan
      h: [1,
          foo]
      i { j: 9223372036854775808 }
      k: 1f
      l = 2
      m:
    }"""
    all_say(
        said(content),
        ("x.config:2: args.a: ", "word", "quotes"),
        ("x.config:4: args.b: ", "twice", "b: [1, 2]"),
        ("x.config:5: args.c: ", "c: VALUE"),
        ("x.config:6: args.d: ", "comma"),
        ("x.config:7: args.e: ", "1e999"),
        ("x.config:8: args.f: ", "007"),
        ("x.config:9: args.g: ", "nan"),
        ("x.config:11: args.h[1]: ", "foo"),
        ("x.config:12: args.i.j: ", "9223372036854775808"),
        ("x.config:13: args.k: ", "1f"),
        ("x.config:14: args.l: ", "l: VALUE"),
        ("x.config:15: args.m: ", "empty"),
    )


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("[1]", ("args: ", "object")),
        ("3", ("args: ", "object")),
        ('{"a": NaN}', ("args.a", "finite")),
        ('{"a": [1, Infinity]}', ("args.a", "finite")),
        ('{"a": {"b": 9223372036854775808}}', ("args.a.b", "64 bits")),
        ('{"a": "\\ud800"}', ("args.a", "UTF-8")),
    ],
)
def test_a_value_that_json_has_and_arguments_have_not_is_a_fault(value, parts) -> None:
    all_say(said(f'{{"class": "a.B", "args": {value}}}', "x.json"), parts)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("args.rate", "3", {"rate": 3, "net": {"units": [8], "on": True}}),
        ("args.rate", "3.0", {"rate": 3.0, "net": {"units": [8], "on": True}}),
        ("args.rate", "word", {"rate": "word", "net": {"units": [8], "on": True}}),
        ("args.rate", '"7"', {"rate": "7", "net": {"units": [8], "on": True}}),
        ("args.rate", "[1, 2]", {"rate": [1, 2], "net": {"units": [8], "on": True}}),
        ("args.rate", "{a: 1}", {"rate": {"a": 1}, "net": {"units": [8], "on": True}}),
        ("args.rate", {"a": [1]}, {"rate": {"a": [1]}, "net": {"units": [8], "on": True}}),
        ("args.rate", 0.5, {"rate": 0.5, "net": {"units": [8], "on": True}}),
        ("args.rate", "", {"net": {"units": [8], "on": True}}),
        ("args.more", "true", {"rate": 1, "net": {"units": [8], "on": True}, "more": True}),
        ("args.net.units", "[4, 2]", {"rate": 1, "net": {"units": [4, 2], "on": True}}),
        ("args.net.on", "", {"rate": 1, "net": {"units": [8]}}),
        ("args.a.b", "1", {"rate": 1, "net": {"units": [8], "on": True}, "a": {"b": 1}}),
        ("args", "{rate: 2}", {"rate": 2}),
        ("args", {"rate": 2}, {"rate": 2}),
        ("args", "", None),
    ],
)
def test_an_edit_sets_one_argument_and_leaves_the_others(path, value, expected) -> None:
    message, _ = parsed("args { rate: 1 net { units: [8] on: true } }")
    assert edit.edit(message, path, value, FACTS) == [path]
    found = fields(message)["args"]
    order = sorted(found.items()) if found else found
    assert same(order, sorted(expected.items()) if expected else expected)


@pytest.mark.parametrize("value", ["1 2", "nan", "[1, ", "a: 1 b: 2", math.inf])
def test_an_edit_that_is_no_value_changes_nothing(value) -> None:
    message, _ = parsed("args { rate: 1 }")
    with fails(ConfigError, "args.rate"):
        edit.edit(message, "args.rate", value, FACTS)
    assert fields(message)["args"] == {"rate": 1}
