"""signature.json: what an exported program takes and gives, and how rows become its inputs."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tzmmoe.data.quality import Quality
from tzmmoe.data.reading.files import Reading
from tzmmoe.errors import CheckpointError, ConfigError, did_you_mean
from tzmmoe.features import Feature, FeatureSettings, FeatureSpec
from tzmmoe.registry import Modules, OwnErrors
from tzmmoe.serving import seal
from tzmmoe.serving.jsonfile import parsed
from tzmmoe.serving.seal import Key, own_file
from tzmmoe.system.digest import sha256

log = logging.getLogger(__name__)

FORMAT = 1
FORMAT_OF_SEVERAL = 2  # that of exports whose signature lists programs
PROGRAM = "model.pt2"
NAME = "signature.json"
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, ConfigError)

# The values of the schema's enums, by the fields that hold their names.
SETTING_WORDS: Mapping[str, Collection[str | None]] = {
    "fg_mode": ("FG_NONE", "FG_NORMAL", "FG_DAG", "FG_BUCKETIZE"),
    "hash_function": ("MURMUR_HASH", "FARM_HASH"),
}
READING_WORDS: Mapping[str, Collection[str | None]] = {
    "dataset_type": (*(None, "OdpsDataset", "ParquetDataset", "CsvDataset", "OdpsDatasetV1"),),
    "quoting": ("AUTO", "DOUBLED", "ESCAPED", "OFF"),
}
COLUMN_TYPES = (None, "INT32", "INT64", "STRING", "FLOAT", "DOUBLE", "BOOL")
FEATURE_WORDS: Mapping[str, Collection[str | None]] = {
    "out_of_range": ("ROW_ZERO", "ERROR", "MODULO"),
    "list_format": ("SEPARATED", "PRINTED"),
    "date_part": (
        *(None, "YEAR", "MONTH", "DAY", "WEEKDAY", "HOUR", "MINUTE", "DAY_OF_YEAR", "WEEK"),
        "SECONDS",
    ),
}


@dataclass(frozen=True)
class Signature:
    """What a Scorer needs beside the program. ``outputs``: as ``exporter.describe_outputs`` gives
    them. ``training``: what training counted; None if the export does not know it. ``programs``:
    {file: the names of its outputs}, in order."""

    features: list[Feature]
    helpers: list[Feature]
    reading: Reading
    outputs: Mapping[str, Any]
    training: Mapping[str, Any] | None
    programs: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, folder: Path, modules: Modules, key: Key | None) -> "Signature":
        """That of an export, all files of which have their checksums.

        Raises:
            CheckpointError: the folder is not an export, is damaged, has another format, or is not
                signed with the key; or the class of a feature cannot be had.
        """
        try:
            sums = seal.check(folder, key)
            content = parsed(own_file(folder, NAME).read_bytes())
            if content["format"] not in (FORMAT, FORMAT_OF_SEVERAL):
                raise CheckpointError(
                    f"{folder} has format {content['format']}, but this version reads formats "
                    f"{FORMAT} and {FORMAT_OF_SEVERAL}; use the version that wrote it"
                )
            _check_sums(folder, content, sums)
            _check_words("setting", content["setting"], SETTING_WORDS)
            _check_words("reading", content["reading"], READING_WORDS)
            types = content["reading"]["types"]
            _check_words("reading: types", types, dict.fromkeys(types, COLUMN_TYPES))
            setting = FeatureSettings(**content["setting"], folder=folder)
            training = content.get("training")  # exports of earlier versions lack it
            Quality.of_all([training] if training else [])  # refuses what has another form
            features, helpers = (
                [make_feature(each, setting, content["sha256"], modules) for each in content[part]]
                for part in ("features", "helpers")
            )
            reading, outputs = Reading(**content["reading"]), dict(content["outputs"])
            programs = _programs(content, outputs)
            return cls(features, helpers, reading, outputs, training, programs)
        except UNREADABLE as error:
            raise CheckpointError(f"{folder}: is not an export: {error}") from error


def _programs(content: Mapping[str, Any], outputs: Collection[str]) -> dict[str, list[str]]:
    """The outputs of each program. Raises ValueError unless each output is of exactly one, and
    each program has a checksum."""
    if content["format"] == FORMAT:
        return {PROGRAM: list(outputs)}
    listed = [(part["file"], list(part["outputs"])) for part in content["programs"]]
    names = [name for _, own in listed for name in own]
    files = [file for file, _ in listed]
    if sorted(names) != sorted(outputs) or len(set(files)) < len(files):
        raise ValueError(f"{NAME}: programs: each output must be of one program, listed once")
    for file in files:
        if file not in content["sha256"]:
            raise KeyError(f"no checksum of {file!r}")
    return dict(listed)


def _check_sums(folder: Path, content: Mapping, sums: Mapping[str, str] | None) -> None:
    """Raise CheckpointError if a file that the signature reads has no checksum, or another one."""
    own: Mapping[str, str] = content["sha256"]
    if sums is None:
        if content.get("checksums"):
            raise CheckpointError(f"{folder / seal.CHECKSUMS} is missing; copy the whole export")
        for name, expected in own.items():
            if sha256(own_file(folder, name)) != expected:
                raise CheckpointError(f"{folder / name} is damaged; export again")
        log.warning(
            "%s was written by an earlier version, without a checksum of %s, so that damage to it "
            "may go unnoticed; export again",
            folder,
            NAME,
        )
        return
    for name in (NAME, *own):
        if name not in sums:
            raise CheckpointError(f"{folder / seal.CHECKSUMS} has no checksum of {name}")
        if sums[name] != own.get(name, sums[name]):
            raise CheckpointError(f"{folder / name} is not the file of this export; export again")


def _check_words(place: str, fields: Mapping[str, Any], words: Mapping[str, Collection]) -> None:
    """Raise ValueError for a value that is none of its enum's."""
    for name, choices in words.items():
        value = fields.get(name, next(iter(choices)))
        if value not in choices:
            named = [word for word in choices if word]
            hint = did_you_mean(str(value), named) or f"; must be one of {', '.join(named)}"
            raise ValueError(f"{NAME}: {place}: {name!r} is {value!r}{hint}")


def make_feature(
    fields: dict[str, Any], setting: FeatureSettings, checked: Collection[str], modules: Modules
) -> Feature:
    """A feature of a signature. The files that it reads must be among the ``checked`` ones.

    Raises CheckpointError for a class of the user's that cannot be had.
    """
    spec = FeatureSpec(fields.pop("kind"), fields, modules)
    _check_words(f"feature {fields['feature_name']!r}", fields, FEATURE_WORDS)
    try:
        for file in spec.files().values():
            if file not in checked:
                raise KeyError(f"no checksum of {file!r}")
        with OwnErrors(modules, ConfigError):
            return spec.make(setting)
    except ConfigError as error:
        if not spec.is_custom:
            raise
        words = f"{setting.folder}: feature {fields['feature_name']!r}: {error}"
        raise CheckpointError(words) from error
