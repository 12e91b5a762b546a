"""Metrics of train_args and eval_args -> those of the towers."""

from collections.abc import Sequence
from typing import Any

from tzmmoe.drafting.section import Section, is_number, is_whole
from tzmmoe.drafting.tencent.keys import METRIC, keys
from tzmmoe.drafting.tencent.labels import by_label
from tzmmoe.drafting.tencent.words import METRICS, OTHER_METRICS, MetricWords, meant
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.textformat.scalars import json_kind

# Arguments of Keras that may say what holds anyway.
FIXED = {
    "curve": "ROC",
    "summation_method": "interpolation",
    "multi_label": False,
    "from_logits": False,
}
FOREIGN = "top_k class_id num_labels"
WHOLE = ("thresholds", "top_k")

Named = tuple[str, Any]  # path and value of one metric


def measured(section: Section) -> list[str]:
    """The labels that have metrics of their own."""
    value = section.any("metrics").value
    return [name for name, each in value.items() if each] if by_label(value) else []


def of_towers(section: Section, labels: Sequence[str]) -> list[list[Named]] | None:
    """For each tower, whose labels are ``labels``, its metrics; None when none are given."""
    given = section.any("metrics")
    value, path = given.value, given.path
    if not value:
        return None
    if by_label(value):
        return _labelled(section, value, labels)
    if isinstance(value, list) and any(isinstance(each, list) for each in value):
        if len(value) != len(labels):
            words = f"has {len(value)} entries for {len(labels)} towers; give one for each"
            section.fault("metrics", words)
            return None
        return [_several(each, f"{path}[{index}]") for index, each in enumerate(value)]
    return [_several(value, path)] * len(labels)


def put_metrics(part: TracedPart, metrics: Sequence[Named], section: Section) -> None:
    """Add metrics to a tower, or to what an evaluation measures of it."""
    words: dict[str, str] = {}
    for path, value in metrics:
        found = _metric(section, path, value)
        if found is None:
            continue
        word, arguments = found
        text = f"{word} {arguments}"
        if words.get(word) == text:
            section.report.idle[path] = f"{word} is already listed"
            continue
        if word in words:
            section.faults.add(path, f"is another {word}; a tower has one of each kind")
            continue
        words[word] = text
        owner = part.part("metrics")
        inner = owner.part(word)
        for name, number in arguments.items():
            inner.set(name, number)
        owner.mark(path)
    if words:
        source = metrics[0][0].partition("[")[0]
        part.report(source, f"metrics: {', '.join(words)}")


def _labelled(section: Section, value: dict[str, Any], labels: Sequence[str]) -> list[list[Named]]:
    path = section.path_of("metrics")
    for name in labels:
        if not value.get(name):
            section.report.notes.append(f"{path} has none of {name}")
    return [_several(value.get(name) or [], f"{path}.{name}") for name in labels]


def _several(value: Any, path: str) -> list[Named]:
    if isinstance(value, list):
        return [(f"{path}[{index}]", each) for index, each in enumerate(value)]
    return [(path, value)]


def _metric(section: Section, path: str, value: Any) -> tuple[str, dict[str, Any]] | None:
    """The word and all arguments of a metric; None after a fault."""
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, dict):
        section.faults.add(path, f"is {json_kind(value)}; give the name of a metric")
        return None
    found = Section(value, path, METRIC, section.faults, section.report)
    try:
        words = meant(found.text("type").value, METRICS, OTHER_METRICS)
    except ValueError as error:
        section.faults.add(path, str(error))
        return None
    return words.word, _arguments(found, words)


def _arguments(metric: Section, words: MetricWords) -> dict[str, Any]:
    known = keys(" ".join([*words.arguments, *FIXED]), "name dtype", FOREIGN)
    given = metric.section("args", known)
    for name, value in FIXED.items():
        if given.has(name) and given.value[name] != value:
            given.fault(name, f"is {json_kind(given.value[name])}; only {value} is supported")
    arguments = dict(words.defaults)
    for name, ours in words.arguments.items():
        if not given.has(name):
            continue
        value = given.value[name]
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if is_whole(value) if ours in WHOLE else is_number(value):
            arguments[ours] = int(value) if ours in WHOLE else value
        else:
            kind = "whole number above 0" if ours in WHOLE else "number"
            given.fault(name, f"is {json_kind(value)}; give one {kind}")
    return arguments
