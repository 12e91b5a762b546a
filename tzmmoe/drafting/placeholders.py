"""``${PACK_PATH}$/train.csv`` -> a path.

A value comes from --var, else from the environment; folders default to the job's own.
"""

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tzmmoe.drafting.report import Report
from tzmmoe.errors import ConfigError, Faults, did_you_mean, join
from tzmmoe.system import environment
from tzmmoe.textformat.scalars import in_utf8

# Other names of a value.
ALIASES = {
    "PROJ_PATH": "PACK_PATH",
    "PACK_PATH": "PROJ_PATH",
    "RUN_PATH": "DATA_PATH",
    "DATA_PATH": "RUN_PATH",
}
FOLDERS = (*ALIASES, "EXPORT_PATH")
UNITS = {"d": "days", "w": "weeks", "h": "hours", "m": "minutes", "s": "seconds"}
MONTHS = {"M": 1, "y": 12}
VERBATIM = ("val_sep", "field_delim")  # keys whose characters stand for themselves

NAME = r"[A-Za-z_]\w*"
PLACEHOLDER = re.compile(
    rf"""
    \$\{{ (?P<braced>{NAME}) (?: (?P<number>[-+]\d+) (?P<unit>[dwhmsMy]) )?
        (?: : (?P<form>[^}}]+) )? \}}\$
    | \$ (?P<bare>{NAME}) \$
    """,
    re.VERBOSE,
)


def variables(settings: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts -> values."""
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (re.fullmatch(NAME, name) and equals and value):
            raise ConfigError.at("--var", f"is {setting!r}; write NAME=VALUE")
        if name in found:
            raise ConfigError.at("--var", f"{name} is set twice; remove one")
        found[name] = value
    return found


@dataclass(frozen=True)
class Placeholders:
    """``folder`` is the job's; ``now`` is what DATE counts from."""

    given: Mapping[str, str]
    folder: str
    now: datetime
    report: Report

    def expand(self, value: Any, path: str, faults: Faults) -> Any:
        """The value with all strings in it expanded, each reported under its path."""
        if isinstance(value, dict):
            return {k: self.expand(each, join(path, k), faults) for k, each in value.items()}
        if isinstance(value, list):
            return [self.expand(each, f"{path}[{i}]", faults) for i, each in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            in_utf8(value)
        except ValueError as error:
            faults.add(path, f"{error}; replace it")
            return ""
        if path.rpartition(".")[2] in VERBATIM:
            return value
        if "\0" in value:
            faults.add(path, f"is {value!r}, which holds a NUL; remove it")
            return ""
        with faults.under(path):
            text = PLACEHOLDER.sub(self._value, value.replace("`", ""))
            if "${" in text or "}$" in text:
                words = f"{value!r} holds an incomplete placeholder; write ${{NAME}}$"
                raise ConfigError.at("", words)
            if text != value:
                self.report.expansions[path] = (value, text)
            return text
        return value

    def unused(self) -> list[str]:
        """Names of --var that no placeholder has."""
        return [name for name in self.given if name not in self.report.values]

    def _value(self, match: re.Match) -> str:
        name = match["braced"] or match["bare"]
        if name == "DATE":
            return self._date(match)
        if match["number"] or match["form"]:
            raise ConfigError.at("", f"{match[0]!r}: only DATE can be shifted or formatted")
        for source, values in (("--var", self.given.get), ("environment", environment.variable)):
            for word in (name, ALIASES.get(name)):
                if word and values(word):
                    self.report.values[word] = (values(word), source)
                    return values(word)
        if name in FOLDERS:
            self.report.values[name] = (self.folder, "default, the folder of the job")
            return self.folder
        hint = did_you_mean(name, (*FOLDERS, "DATE"))
        raise ConfigError.at("", f"{match[0]!r} has no value{hint}; pass --var {name}=VALUE")

    def _date(self, match: re.Match) -> str:
        number, unit = int(match["number"] or 0), match["unit"] or "d"
        try:
            if unit in UNITS:
                date = self.now + timedelta(**{UNITS[unit]: number})
            else:
                date = _months_later(self.now, number * MONTHS[unit])
        except (OverflowError, ValueError) as error:
            raise ConfigError.at(
                "", f"{match[0]!r} is not a date: {error}; shift it by less"
            ) from error
        text = date.strftime(match["form"] or "%Y%m%d")
        self.report.values[match[0]] = (text, "the clock")
        return text


def _months_later(date: datetime, months: int) -> datetime:
    """The same day, or the last one of a month that is shorter."""
    year, month = divmod(date.year * 12 + date.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date.replace(year=year, month=month + 1, day=min(date.day, last))
