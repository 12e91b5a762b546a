"""The JSON of inputs: definitions, groups of them, labels."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tzmmoe.drafting.report import Report
from tzmmoe.drafting.section import Section, shown
from tzmmoe.drafting.tencent.keys import DEFINITION, GROUPED, INPUTS
from tzmmoe.errors import Faults, did_you_mean, few
from tzmmoe.textformat.scalars import json_kind

LABELS = "labels"  # the group that sets the order of the labels
OF_ANY = ("name", "dtype", "is_label", "is_sample_weight", "label_index", "exclude")
OF_FEATURES = tuple(key for key in DEFINITION.read if key not in OF_ANY)


@dataclass
class Inputs:
    """definitions: {name: its object}. groups: {group: names}; None when the file has no
    groups. labels: in the order of the file.
    """

    definitions: dict[str, Section]
    groups: dict[str, list[str]] | None
    labels: list[str] = field(default_factory=list)
    weight: str = ""

    @property
    def features(self) -> list[str]:
        """All but labels, weights and excluded columns."""
        return [name for name in self.definitions if self.is_feature(name)]

    def is_feature(self, name: str) -> bool:
        excluded = self.definitions[name].value.get("exclude") is True
        return name not in self.labels and name != self.weight and not excluded


def parse(value: dict[str, Any], faults: Faults, report: Report) -> Inputs:
    """Version 1 is a list or ``{group: list}``, version 2 ``{defs, groups}``."""
    file = Section(value, "", INPUTS, faults, report)
    version = str(value.get("version", 1))
    if version not in ("1", "2"):
        file.fault("version", f"is {json_kind(value['version'])}; give 1 or 2")
    found = file.any("inputs")
    if not found:
        file.fault("inputs", "is not set; give the definitions of the inputs")
    if version not in ("1", "2") or not found:
        return Inputs({}, None)
    if version == "2":
        inputs = _second(file.section("inputs", GROUPED))
    elif isinstance(found.value, dict):
        inputs = _first(found.value, faults, report)
    else:
        inputs = Inputs(dict(_definitions(found.value, "inputs", faults, report)), None)
    _sort_out(inputs, faults)
    if not inputs.definitions and not faults:
        faults.add("inputs", "defines nothing; list the columns")
    return inputs


def _first(groups: dict[str, Any], faults: Faults, report: Report) -> Inputs:
    """Version 1 with groups; equal definitions in several groups are one."""
    inputs = Inputs({}, {})
    if "defs" in groups:
        faults.add("version", "is 1, but inputs has defs, as version 2 does; set it to 2")
        return inputs
    for group, values in groups.items():
        names = inputs.groups[group] = []
        for name, section in _definitions(values, f"inputs.{group}", faults, report):
            known = inputs.definitions.setdefault(name, section)
            if known.value != section.value:
                faults.add(
                    section.path, f"{name!r} is defined differently at {known.path}; keep one"
                )
            names.append(name)
    return inputs


def _second(section: Section) -> Inputs:
    key = "defs" if section.has("defs") else "defines"
    values = section.any(key)
    if not values:
        section.fault("defs", "is not set; give the definitions of the inputs")
        return Inputs({}, None)
    found = _definitions(values.value, values.path, section.faults, section.report)
    inputs = Inputs(dict(found), None)
    groups = section.any("groups")
    if not groups.value:
        return inputs
    if not isinstance(groups.value, dict):
        words = f"is {json_kind(groups.value)}; give {{group: [names]}}"
        section.fault("groups", words)
        return inputs
    inputs.groups = {}
    for group, names in groups.value.items():
        path = f"{groups.path}.{group}"
        inputs.groups[group.strip()] = _names(names, path, inputs.definitions, section.faults)
    return inputs


def _names(value: Any, path: str, known: dict[str, Section], faults: Faults) -> list[str]:
    """The names in a group."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        faults.add(path, f"is {shown(value)}; give a list of names of inputs")
        return []
    names = [name.strip() for name in value]
    if not known:  # they could not be read, which is a fault of its own
        return []
    for index, name in enumerate(names):
        if name not in known:
            hint = did_you_mean(name, known) or "; define it, or remove it here"
            faults.add(f"{path}[{index}]", f"{name!r} is not in defs{hint}")
        elif name in names[:index]:
            faults.add(f"{path}[{index}]", f"{name!r} is listed twice; remove one")
    return [name for name in dict.fromkeys(names) if name in known]


def _definitions(
    values: Any, path: str, faults: Faults, report: Report
) -> Iterator[tuple[str, Section]]:
    """Names and definitions of a list."""
    if not isinstance(values, list):
        faults.add(path, f"is {json_kind(values)}; give a list [...]")
        return
    seen: set[str] = set()
    for index, value in enumerate(values):
        section = Section(value, f"{path}[{index}]", DEFINITION, faults, report)
        name = section.text("name").value.strip()
        if not name:
            section.fault("name", "is not set; name the column")
        elif name in seen:
            section.fault("name", f"is {name!r}, which is defined twice; remove one")
        else:
            seen.add(name)
            yield name, section


def _sort_out(inputs: Inputs, faults: Faults) -> None:
    """Set the labels, in their order, and the weight."""
    for each in inputs.definitions.values():
        each.flag("exclude")
    marked = [n for n, each in inputs.definitions.items() if each.flag("is_label").value]
    weights = [n for n, each in inputs.definitions.items() if each.flag("is_sample_weight").value]
    grouped = (inputs.groups or {}).get(LABELS, [])
    for name in grouped:
        if name not in marked:
            words = f"is in the group {LABELS}, but has no is_label: true; set it"
            faults.add(inputs.definitions[name].path, words)
    first = [name for name in grouped if name in marked]
    labels = [*first, *(name for name in marked if name not in first)]
    inputs.labels = _ordered(labels, inputs, faults)
    if len(weights) > 1:
        words = f"{few(weights)} are all is_sample_weight: true; keep one"
        faults.add("inputs", words)
    inputs.weight = weights[0] if weights else ""
    for name, each in inputs.definitions.items():
        if name not in inputs.labels:
            each.idle("label_index", "it is not a label")
        if not inputs.is_feature(name):
            for key in OF_FEATURES:
                each.idle(key, "it is not a feature")


def _ordered(labels: list[str], inputs: Inputs, faults: Faults) -> list[str]:
    """Sorted by label_index if it is set."""
    indices = {name: inputs.definitions[name].whole("label_index") for name in labels}
    given = [name for name, index in indices.items() if index]
    if not given:
        return labels
    lacking = [name for name in labels if name not in given]
    if lacking:
        words = f"is set for {few(given)}, but not for {few(lacking)}; set it for all, or for none"
        faults.add("inputs", f"label_index {words}")
        return labels
    values = [index.value for index in indices.values()]
    if len(set(values)) < len(values):
        faults.add("inputs", f"label_index is {few([str(v) for v in values])}; give each its own")
    return sorted(labels, key=lambda name: indices[name].value or 0)


def plain_name(name: str) -> str:
    """A column's name as features, towers and folders may be called."""
    return re.sub(r"[^\w\-]+", "_", name) or "_"
