"""A pipeline of EasyRec: its text, read with all its faults, and its settings with their paths."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from tzmmoe.config.facts import FACTS, right_place
from tzmmoe.config.recognition import PIPELINE, check_kind, outline_of
from tzmmoe.drafting.easyrec.differences import DIFFERENCES
from tzmmoe.drafting.report import Report
from tzmmoe.drafting.section import Entry
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import ConfigError, Faults, did_you_mean, few, join, lies_in
from tzmmoe.protos.compat.easyrec_pb2 import EasyRecConfig
from tzmmoe.textformat.outline import Outline
from tzmmoe.textformat.paths import is_set
from tzmmoe.textformat.reader import TextReading

# Blocks that say where tables and streams are; their content is not read.
PLACES = re.compile(r"(hive|kafka|datahub|binary)_(train|eval)_input")
MOST_SLIPS = 5  # unknown fields at the top level; a file with more may be something else
SCHEMA = EasyRecConfig.DESCRIPTOR.file
LISTED = ("Optimizer", "LearningRate")  # an error lists all their fields, one of which must be set
METRICS = "eval_config.metrics_set"
SEQUENCES = "sequences are not supported yet; remove it"


@dataclass(frozen=True)
class Source:
    """``places``: the names of the blocks that were left out unread."""

    config: EasyRecConfig
    outline: Outline
    places: tuple[str, ...]


def read(path: Path, faults: Faults) -> Source:
    """The pipeline in a file, without what is faulty. Raises ConfigError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError.at("--config", f"cannot read {path}: {why}; check the path") from error
    _check_kind(text, path)
    outline, config = Outline(str(path), text), EasyRecConfig()
    if not outline.fields:
        raise ConfigError.at("--config", f"{path} holds no settings; give a pipeline of EasyRec")
    is_place = {node.name: bool(PLACES.fullmatch(node.name)) for node in outline.fields}
    outline.fields = [node for node in outline.fields if not is_place[node.name]]
    text_faults = TextReading(outline, OF_EASYREC).into(config)
    if not is_rank_model(config):
        text_faults = [fault for fault in text_faults if not lies_in(fault.path, METRICS)]
    faults.extend(text_faults)
    return Source(config, outline, tuple(name for name, place in is_place.items() if place))


def _check_kind(text: str, path: Path) -> None:
    """Raise ConfigError for a file of another kind, most of whose fields would be unknown."""
    outline = outline_of(text)
    check_kind(outline, PIPELINE, "--config", path)
    if outline.json:
        words = "is JSON; give the pipeline in protobuf's text form"
        raise ConfigError.at("--config", f"{path} {words}")
    names = {node.name for node in outline.fields}
    unknown = names - set(EasyRecConfig.DESCRIPTOR.fields_by_name)
    if len(unknown) > max(MOST_SLIPS, len(names) - len(unknown)):
        words = f"{path} is not a pipeline of EasyRec, which has no {few(sorted(unknown))}"
        raise ConfigError.at("--config", f"{words}; check the path")


def is_rank_model(config: EasyRecConfig) -> bool:
    """Whether the model is a RankModel, the only one that reads ``eval_config.metrics_set``."""
    return config.model_config.model_class == "RankModel"


def _unknown_field(word: str, owner: Descriptor) -> str:
    if word == "sequence_features":
        return SEQUENCES
    place = right_place(word, owner, EasyRecConfig.DESCRIPTOR)
    is_theirs = owner.file == SCHEMA
    # Between two messages of model_config, which has our schema, FACTS knows the place.
    if place and (is_theirs or "model_config" not in place):
        return f"no such field here; it belongs {place}"
    if not is_theirs:
        return FACTS.unknown_field(word, owner)
    names = list(owner.fields_by_name)
    most = len(names) if owner.name in LISTED else 5
    hint = did_you_mean(word, names)
    return f"no such field{hint or f'; EasyRec has {few(names, most)}'}"


def _unknown_value(word: str, values: Collection[str]) -> str:
    if "CSVInput" in values:
        return f"is {word or 'empty'}; give one of {few(list(values))}{did_you_mean(word, values)}"
    return FACTS.unknown_value(word, values)


OF_EASYREC = replace(FACTS, unknown_field=_unknown_field, unknown_value=_unknown_value)


@dataclass(frozen=True)
class Part:
    """A message of the pipeline with its path, and where to tell of it."""

    message: Message
    path: str
    faults: Faults
    report: Report

    def path_of(self, name: str) -> str:
        return join(self.path, name)

    def has(self, name: str) -> bool:
        return is_set(self.message, name)

    def entry(self, name: str) -> Entry:
        """A field's value, EasyRec's default where it is not set."""
        value = getattr(self.message, name)
        field = self.message.DESCRIPTOR.fields_by_name[name]
        if field.is_repeated:
            value = list(value)
        elif field.enum_type is not None:
            value = field.enum_type.values_by_number[value].name
        return Entry(value, self.path_of(name) if self.has(name) else "")

    def value(self, name: str) -> Any:
        return self.entry(name).value

    def part(self, name: str) -> "Part":
        return replace(self, message=getattr(self.message, name), path=self.path_of(name))

    def parts(self, name: str) -> list["Part"]:
        """The elements of a repeated field."""
        return [
            replace(self, message=message, path=self.path_of(f"{name}[{index}]"))
            for index, message in enumerate(getattr(self.message, name))
        ]

    def carry(self, target: TracedPart, name: str, ours: str = "", why: str = "") -> None:
        """Write a field under our name, if it is set or EasyRec's default is not ours."""
        ours, entry = ours or name, self.entry(name)
        if entry or entry.value != target.message.DESCRIPTOR.fields_by_name[ours].default_value:
            target.put(ours, entry, why)

    def fault(self, name: str, words: str) -> None:
        self.faults.add(self.path_of(name), words)

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Faults of fields that change what a model learns and have no counterpart."""
        for name, words in reasons.items():
            if self.has(name) and self.value(name) not in (False, "", 0):
                self.fault(name, words)

    def idle(self, reasons: Mapping[str, str]) -> None:
        """Tell of those of the fields that are set why they change nothing here."""
        for name, why in reasons.items():
            if self.has(name):
                self.report.idle[self.path_of(name)] = why

    def leave_out(self, name: str, why: str) -> None:
        self.report.left_out[self.path_of(name)] = why

    def differs(self, name: str) -> None:
        """Tell of a difference that concerns this pipeline, once."""
        tell_difference(self.report, name)


def tell_difference(report: Report, name: str) -> None:
    if DIFFERENCES[name] not in report.differences:
        report.differences.append(DIFFERENCES[name])
