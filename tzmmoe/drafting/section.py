"""One object of a job: its keys are read one by one, and every fault is kept with its path."""

import json
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tzmmoe.drafting.report import Report
from tzmmoe.errors import Faults, did_you_mean, join
from tzmmoe.textformat.scalars import json_kind

MOST = 2**31 - 1  # of whole numbers
LONGEST = 40  # characters of a value in a message
OFF = (None, False, 0, "", [], {})


@dataclass(frozen=True)
class Entry:
    """A value and the path of its key, "" for a default."""

    value: Any
    path: str = ""

    def __bool__(self) -> bool:
        """Whether the job sets it."""
        return bool(self.path)


@dataclass(frozen=True)
class Keys:
    """Keys of an object: ``read`` ones, ``idle`` ones with the reason why they change nothing here,
    and ``foreign`` ones, which change what a job does but are not supported, with what to do
    instead; both may be ""."""

    read: Sequence[str]
    idle: Mapping[str, str]
    foreign: Mapping[str, str]

    @property
    def known(self) -> tuple[str, ...]:
        return (*self.read, *self.idle, *self.foreign)


class Section:
    """An object with the path ``path``. A key that is null counts as not set.

    What cannot be read becomes a fault, and its default is used.
    """

    def __init__(self, value: Any, path: str, known: Keys, faults: Faults, report: Report) -> None:
        self.path, self.faults, self.report = path, faults, report
        if not isinstance(value, dict):
            faults.add(path, f"is {json_kind(value)}; give an object {{...}}")
            value = {}
        self.value: dict[str, Any] = value
        for name, each in value.items():
            self._look(name, each, known)

    def _look(self, name: str, value: Any, known: Keys) -> None:
        path = self.path_of(name)
        if name not in known.known:
            hint = did_you_mean(name, known.known) or "; remove it"
            self.faults.add(path, f"no such key{hint}")
        elif name in known.foreign and value not in OFF:
            self.faults.add(path, f"is not supported; {known.foreign[name] or 'remove it'}")
        elif name in known.idle and value not in OFF:
            self.report.idle[path] = known.idle[name]

    def path_of(self, name: str) -> str:
        return join(self.path, name)

    def has(self, name: str) -> bool:
        return self.value.get(name) is not None

    def fault(self, name: str, words: str) -> None:
        self.faults.add(self.path_of(name), words)

    def idle(self, name: str, why: str) -> None:
        """Report that a key has no effect, if the job sets it."""
        if self.has(name):
            self.report.idle[self.path_of(name)] = why

    def any(self, name: str) -> Entry:
        """The value as it is."""
        return Entry(self.value[name], self.path_of(name)) if self.has(name) else Entry(None)

    def section(self, name: str, known: Keys) -> "Section":
        """The object of a key; an empty one if it is not set."""
        value = self.value[name] if self.has(name) else {}
        return Section(value, self.path_of(name), known, self.faults, self.report)

    def text(self, name: str, default: str = "") -> Entry:
        found = self.any(name)
        if not found:
            return Entry(default)
        if not isinstance(found.value, str):
            self.fault(name, f"is {json_kind(found.value)}; give a string")
            return Entry(default, found.path)
        return found

    def flag(self, name: str, default: bool = False) -> Entry:
        found = self.any(name)
        if not found:
            return Entry(default)
        if not isinstance(found.value, bool):
            self.fault(name, f"is {json_kind(found.value)}; give true or false")
            return Entry(default, found.path)
        return found

    def whole(
        self, name: str, default: int | None = None, least: int | None = None, most: int = MOST
    ) -> Entry:
        found = self.number(name, default, least)
        if not found or found.value is None:
            return found
        if found.value != int(found.value):
            self.fault(name, f"is {found.value}; give a whole number")
            return Entry(default, found.path)
        if abs(found.value) > most:
            self.fault(name, f"is {found.value}; give {most} at most")
            return Entry(default, found.path)
        return Entry(int(found.value), found.path)

    def number(self, name: str, default: float | None = None, least: float | None = None) -> Entry:
        found = self.any(name)
        if not found:
            return Entry(default)
        if not is_number(found.value):
            self.fault(name, f"is {json_kind(found.value)}; give a number")
            return Entry(default, found.path)
        if least is not None and found.value < least:
            self.fault(name, f"is {found.value}; give {least} or more")
            return Entry(default, found.path)
        return found


def shown(value: Any) -> str:
    """A value of JSON, cut short."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether a value of JSON is a whole number from ``least`` on."""
    return is_number(value) and value == int(value) and least <= value <= MOST


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)
