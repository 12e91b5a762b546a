"""Checks of values that several sections share, and those that apply to all sections."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.config.rulebook import Rules
from tzmmoe.config.walk import messages
from tzmmoe.errors import Faults, exactly, few, join
from tzmmoe.protos.pipeline_pb2 import Pipeline

OWN_NAME = "give each its own name, or keep one"

REAL = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


def at_least(least: int, config: Message, path: str, names: Iterable[str], faults: Faults) -> None:
    """Each field that has a value, set or by default, must be at least this."""
    for name in names:
        value, field = getattr(config, name), config.DESCRIPTOR.fields_by_name[name]
        if value < least and (config.HasField(name) or field.has_default_value):
            number = f"{exactly(value)}" if isinstance(value, float) else value
            faults.add(join(path, name), f"is {number}; give {least} or more")


def above(bound: float, config: Message, path: str, names: Iterable[str], faults: Faults) -> None:
    """Each field must be greater than this."""
    for name in names:
        value = getattr(config, name)
        if value <= bound:
            faults.add(
                join(path, name), f"is {exactly(value)}; give a number above {exactly(bound)}"
            )


def one_of(choices: Sequence[str], config: Message, path: str, name: str, faults: Faults) -> None:
    """The field must be one of these words."""
    if (word := getattr(config, name)) not in choices:
        others, _, last = ", ".join(filter(None, choices)).rpartition(", ")
        unset = ", or remove it" if "" in choices else ""
        listed = f"{others} or {last}" if others else last
        faults.add(join(path, name), f"is {word!r}; give {listed}{unset}")


def unique(names: Iterable[str], path: str, faults: Faults, remedy: str = "keep one") -> None:
    """No name may occur twice. Empty ones are skipped, since a missing name is another fault.

    ``remedy``: ``OWN_NAME`` where the names are those of the messages at the path.
    """
    for name, count in Counter(filter(None, names)).items():
        if count > 1:
            times = "twice" if count == 2 else f"{count} times"
            faults.add(path, f"{name!r} is listed {times}; {remedy}")


def defined(name: str, names: Collection[str], path: str, place: str, faults: Faults) -> None:
    """A name must be one of the ``names`` that the setting ``place`` lists."""
    if name not in names:
        others = [other for other in names if other]
        listed = f", or name one of {few(others)}" if others else ""
        remedy = faults.hint(name, names) or f"; add it to {place}{listed}"
        faults.add(path, f"{name!r} is not in {place}{remedy}")


def _finite(pipeline: Pipeline, faults: Faults) -> None:
    """No number may be NaN or infinite, except the order of a norm."""
    for path, message in messages(pipeline):
        for field, value in message.ListFields():
            if field.cpp_type not in REAL or field.name == "norm_type":
                continue
            for number in value if field.is_repeated else [value]:
                if not math.isfinite(number):
                    faults.add(join(path, field.name), f"is {number}; give a finite number")


def _layers(pipeline: Pipeline) -> Iterator[str]:
    for path, message in messages(pipeline):
        if message.DESCRIPTOR.name == "MLP" and message.use_bn and message.HasField("bias"):
            yield f"{path}.bias has no effect with use_bn"


RULES = Rules(check=_finite, notes=_layers)
