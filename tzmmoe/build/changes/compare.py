"""Two configs -> what differs, field by field."""

from collections.abc import Collection
from dataclasses import dataclass

from google.protobuf import text_format

from tzmmoe.build.changes.kinds import Kind
from tzmmoe.build.changes.listed import Setting, listed
from tzmmoe.build.rules import rules
from tzmmoe.errors import Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline

COMPARED = (Kind.MEANING, Kind.SHAPE, Kind.RESULTS, Kind.LEARNING)
INPUT_FIELDS = "data_config.input_fields"


@dataclass(frozen=True)
class Change:
    """A setting that differs: its kind, and a line with its path and both values."""

    kind: Kind
    line: str


def changes(saved: str, current: str, read: Collection[str]) -> list[Change]:
    """What differs between two configs, in the order of the schema. ``read``: the features that the
    model reads, itself or through others.

    Only what both have is compared: features, towers and groups that one of them lacks are the
    fingerprint's. Fields that this version does not know are passed over.

    Raises:
        ValueError: ``saved`` is not a config.
    """
    before, after = Pipeline(), Pipeline()
    text_format.Parse(current, after, allow_unknown_field=True)
    try:
        text_format.Parse(saved, before, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ValueError(str(error)) from error
    rules().rewrite(before, Faults())  # an earlier version may have left what this one rewrites
    old, new = listed(before, read), listed(after, read)
    return [
        Change(_kind(key, old[key], setting), _line(old[key], setting))
        for key, setting in new.items()
        if setting.kind in COMPARED and key in old and old[key].value != setting.value
        if key != INPUT_FIELDS
        or not (before.data_config.with_header or after.data_config.with_header)
    ]


def _kind(key: str, before: Setting, now: Setting) -> Kind:
    """Columns that are appended to input_fields move none, and where one side names none, its files
    name them."""
    if key == INPUT_FIELDS and now.value[: len(before.value)] == before.value:
        return Kind.LEARNING
    if key == INPUT_FIELDS and not now.value:
        return Kind.LEARNING
    return now.kind


def _line(before: Setting, now: Setting) -> str:
    owner = f" of {now.owner!r}" if now.owner else ""
    return f"{now.path}{owner}: was {before.shown}, and is {now.shown} in the config"
