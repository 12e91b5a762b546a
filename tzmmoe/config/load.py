"""Config file -> canonical message, with every fault that the text alone shows."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from tzmmoe.config import check, dialects, overrides, text
from tzmmoe.errors import ConfigError, Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """A canonical pipeline, the faults found so far, and the way from a path to its line."""

    pipeline: Pipeline
    faults: Faults
    locate: Callable[[str], str]
    folder: Path


def load(
    path: str | Path,
    *,
    settings: Sequence[str] = (),
    edits_json: str | None = None,
    needs: Sequence[str] = (),
) -> Config:
    """Read a text (or ``.json``) config.

    ``settings`` are ``PATH=VALUE`` texts, ``edits_json`` a JSON object of edits, ``needs`` the
    paths that must be set for what the caller is about to do. Faults are collected, not raised,
    so that building can add its own; only a file that cannot be read raises.
    """
    path = Path(path)
    try:
        content = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.at("--pipeline_config", f"cannot read {path}: {error}") from error
    pipeline, faults = Pipeline(), Faults()
    outline = text.parse(path, content, pipeline, faults)
    overrides.apply(pipeline, settings, edits_json, faults)
    dialects.canonicalize(pipeline, faults)
    check.check(pipeline, faults, needs)
    return Config(pipeline, faults, outline.locate, path.parent)


def save(pipeline: Pipeline, path: Path) -> None:
    path.write_text(text_format.MessageToString(pipeline, as_utf8=True))
