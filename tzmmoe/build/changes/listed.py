"""A pipeline as a flat list of settings by path, each in one form however it was written."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.build.changes import forms
from tzmmoe.build.changes.kinds import OF_LAYERS, SUBTREES, Kind, kind_of
from tzmmoe.build.features import feature_settings
from tzmmoe.config.walk import features
from tzmmoe.errors import join
from tzmmoe.features import FeatureSpec
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import fields
from tzmmoe.registry.values import ARGS

# The fields that name the elements of lists, so that an element is found wherever it stands.
NAMES = ("feature_name", "tower_name", "group_name", "input_name")
OWN_NAME = ("Block", "BlockPackage")  # messages whose name is called so
BY_WORD = ("Loss", "Metric")  # messages whose lists are compared by the words in them


@dataclass(frozen=True)
class Setting:
    """A setting at its ``path`` in a config. ``value``: in a form that is equal wherever the
    meaning is; ``shown``: as the user would write it. ``owner``: the feature or tower it is of."""

    path: str
    kind: Kind
    value: Any
    shown: str
    owner: str = ""


@dataclass(frozen=True)
class Place:
    """A message's ``path``, its ``key``, which has names in place of numbers, the owner of what is
    in it, and its kind if that is one for all of it."""

    path: str = ""
    key: str = ""
    owner: str = ""
    kind: Kind | None = None

    def at(self, name: str, key: str = "", owner: str = "") -> "Place":
        """Of a field or element of the message; ``key``: its name, if that is another."""
        path, key = join(self.path, name), join(self.key, key or name)
        return Place(path, key, owner or self.owner, self.kind)


def listed(pipeline: Pipeline, read: Collection[str]) -> dict[str, Setting]:
    """The settings by key. ``read``: the features that the model reads, itself or through others;
    nothing is listed of the rest, nor of fields that have no effect."""
    forms.complete(pipeline)
    found = dict(_settings(pipeline, Place()))
    for key, setting in list(found.items()):
        if setting.owner and key.startswith("feature_configs[") and setting.owner not in read:
            del found[key]
    for key in _idle(pipeline):
        found.pop(key, None)
    return found


def _settings(message: Message, place: Place) -> Iterator[tuple[str, Setting]]:
    descriptor = message.DESCRIPTOR
    kind = place.kind or SUBTREES.get(descriptor.name)
    place = Place(place.path, place.key, place.owner, kind)
    for oneof in descriptor.oneofs:
        yield from _choice(message, oneof.name, place)
    for field in descriptor.fields:
        if field.GetOptions().deprecated or field.containing_oneof:
            continue
        value, is_message = getattr(message, field.name), field.message_type is not None
        if is_message and field.message_type.name == ARGS:
            own = kind or kind_of(field)
            yield _setting(place.at(field.name), own, fields(value), json.dumps(fields(value)))
        elif is_message and field.message_type.GetOptions().map_entry:
            yield _setting(place.at(field.name), kind or kind_of(field), dict(value), str(value))
        elif is_message and field.is_repeated:
            yield from _elements(value, field.name, place)
        elif is_message:
            if field.name == "reset_input":  # empty, it replaces settings too
                has_one = message.HasField(field.name)
                shown_as = "set" if has_one else "not set"
                yield _setting(place.at(field.name), place.kind, has_one, shown_as)
            yield from _settings(value, place.at(field.name))
        else:
            yield _plain(message, field, place)
    if descriptor.name == "TrainConfig":  # its defaults are not those of a run without it
        has_one = message.HasField("early_stopping")
        shown = "set" if has_one else "not set"
        yield _setting(place.at("early_stopping"), Kind.LEARNING, has_one, shown)


def _choice(message: Message, oneof: str, place: Place) -> Iterator[tuple[str, Setting]]:
    """The word that is chosen, and what is in its message."""
    word = message.WhichOneof(oneof) or forms.UNSET.get(oneof)
    known = message.DESCRIPTOR.fields_by_name.get(word or "")
    first = known or message.DESCRIPTOR.oneofs_by_name[oneof].fields[0]
    kind = place.kind or kind_of(first)
    owner = getattr(getattr(message, word), "feature_name", "") if word else ""
    # What a list of words holds is told as a whole.
    if message.DESCRIPTOR.name not in BY_WORD:
        yield _setting(place.at("", f"<{oneof}>", owner), kind, word, word or "not set")
    if known is not None and known.message_type is None:
        yield _plain(message, known, place)
    elif word:
        yield from _settings(getattr(message, word), place.at(word, owner=owner))


def _elements(
    elements: Sequence[Message], name: str, place: Place
) -> Iterator[tuple[str, Setting]]:
    words: dict[str, int] = {}
    for number, element in enumerate(elements):
        label = _label(element)
        words[label] = count = words.get(label, 0) + 1
        key = f"{name}[{label or number}{f' {count}' if label and count > 1 else ''}]"
        owner = label if element.DESCRIPTOR.name in ("TaskTower", "Block") else ""
        yield from _settings(element, place.at(f"{name}[{number}]", key, owner))
    kind = elements and elements[0].DESCRIPTOR.name
    if kind in BY_WORD:
        own = Kind.MEANING if kind == "Loss" else Kind.RESULTS
        yield _setting(place.at(name), place.kind or own, sorted(words), ", ".join(words))
    elif place.kind and not any(words):  # inputs and layers of a block, which have no names
        yield _setting(place.at(name), place.kind, len(elements), f"{len(elements)} of them")
    elif name == "input_fields":
        yield _setting(place.at(name), Kind.MEANING, tuple(words), ", ".join(words) or "not set")


def _label(element: Message) -> str:
    """The name of an element of a list, or the word that it consists of."""
    if element.DESCRIPTOR.name in BY_WORD:
        word = element.WhichOneof(element.DESCRIPTOR.oneofs[0].name)
        own = getattr(getattr(element, word), "class", "") if word else ""
        return f"{word} {own}" if own else word or ""
    if element.DESCRIPTOR.name == "FeatureConfig":
        word = element.WhichOneof("feature")
        return getattr(element, word).feature_name if word else ""
    if element.DESCRIPTOR.name in OWN_NAME:
        return element.name
    return next((getattr(element, n) for n in NAMES if hasattr(element, n)), "")


def _plain(message: Message, field: FieldDescriptor, place: Place) -> tuple[str, Setting]:
    value = getattr(message, field.name)
    if field.is_repeated:
        value = list(value)
    elif not (message.HasField(field.name) or field.has_default_value):
        value = None
    elif field.enum_type is not None:
        value = field.enum_type.values_by_number[value].name
    kind = place.kind or kind_of(field)
    if place.kind is Kind.MEANING and field.name in OF_LAYERS:
        kind = Kind.LEARNING
    form = forms.of(message, field.name, value)
    text = value if field.enum_type is not None else shown(value)
    return _setting(place.at(field.name), kind, form, text or "not set")


def _setting(place: Place, kind: Kind, value: Any, text: str) -> tuple[str, Setting]:
    return place.key, Setting(place.path, kind, value, text, place.owner)


def shown(value: Any) -> str:
    """A value as a config has it."""
    if value is None or value == []:
        return "not set"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _idle(pipeline: Pipeline) -> Iterator[str]:
    """The keys of features' settings that have no effect."""
    setting = feature_settings(pipeline.data_config, Path())
    if not setting.encoded:
        yield "data_config.fg_encoded_multival_sep"
    for _, word, message in features(pipeline):
        if word and word != "custom_feature":
            spec = FeatureSpec(word, fields(message))
            for name, _ in spec.kind.idle(spec.fields, setting):
                yield f"feature_configs[{message.feature_name}].{word}.{name}"
        if word and not setting.raw:
            yield f"feature_configs[{message.feature_name}].{word}.expression"
