"""Every field of a config with values that it is not made for: they work, or the error names it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tzmmoe.errors import ConfigError, UserError
from tzmmoe.pipeline import Pipeline
from tzmmoe.protos import pipeline_pb2

NUMBERS = ("-1", "0", "1", "3", "2147483648", "1e30", "nan", "inf", '"7"', "seven", "")
WORDS = ('""', '"nonsense"', "nonsense", "3", '"\\\\000"', '"../../etc"', f'"{"x" * 5000}"', "[]")
FLAGS = ("true", "false", "2", '"yes"', "")
CHOICES = ("NONSENSE", "0", "99", '"FG_DAG"', "")
# Where a wrong value only names another file, or asks for work without end.
LEFT_OUT = ("train_input_path", "eval_input_path", "test_input_path", "model_dir")


def fields_of(message: Descriptor, path: str, depth: int) -> Iterator[tuple[str, FieldDescriptor]]:
    """Paths of the schema below a message, the first of repeated ones."""
    for field in message.fields:
        place = f"{path}.{field.name}" if path else field.name
        if field.is_repeated and field.message_type:
            place += "[0]"
        yield place, field
        if field.message_type and depth:
            yield from fields_of(field.message_type, place, depth - 1)


def values(field: FieldDescriptor) -> tuple[str, ...]:
    if field.message_type:
        return ("{}", "3", '"text"', "{ nonsense: 1 }", "[]", "")
    if field.enum_type:
        return CHOICES
    if field.type == FieldDescriptor.TYPE_STRING:
        return WORDS
    return FLAGS if field.type == FieldDescriptor.TYPE_BOOL else NUMBERS


CASES = [
    (place, field)
    for place, field in fields_of(pipeline_pb2.Pipeline.DESCRIPTOR, "", 5)
    if place not in LEFT_OUT
]


def outcome(folder: Path, setting: str) -> Exception | None:
    """The error that the user sees, None if it works. Any other error is a bug of ours."""
    settings = [f"model_dir={folder / 'unused'}", setting]
    try:
        Pipeline.load(folder / "tiny.config", settings=settings, device="cpu").check()
    except (UserError, OSError) as error:
        return error
    return None


def names_its_place(error: Exception) -> bool:
    """A field, a flag or a file; the command line prints a system's error with its file."""
    if isinstance(error, ConfigError):
        return all(fault.path or fault.where for fault in error.faults)
    return bool(error.filename) if isinstance(error, OSError) else bool(str(error).strip())


@pytest.mark.long
@pytest.mark.parametrize("part", range(8))
def test_a_value_that_does_not_fit_works_or_is_reported_by_its_field(tiny_folder, part) -> None:
    """Thousands of values: no traceback, no hang."""
    tried = failed = 0
    for place, field in CASES[part::8]:
        for value in values(field):
            error = outcome(tiny_folder, f"{place}={value}")
            assert error is None or names_its_place(error), (place, value)
            tried += 1
            failed += error is not None
    assert tried > 100
    assert failed > tried / 4
