"""Config file -> canonical message, with all faults that the text alone shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tzmmoe.config.facts import FACTS
from tzmmoe.config.recognition import CONFIG, check_kind
from tzmmoe.config.rulebook import Rules
from tzmmoe.errors import ConfigError, Fault, Faults, did_you_mean_file, lies_in
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Modules
from tzmmoe.registry.modules import NO_MODULES
from tzmmoe.system import pathkind
from tzmmoe.system.localpath import local
from tzmmoe.textformat import edit, reader
from tzmmoe.textformat.edit import Settings
from tzmmoe.textformat.outline import Outline

LOCAL_PATHS = (
    *("model_dir", "eval_config.output_file", "eval_config.predictions_path"),
    *("train_config.fine_tune_checkpoint", "train_config.fine_tune_ckpt_param_map"),
)


@dataclass(frozen=True)
class Config:
    """A canonical pipeline, its faults so far, ``locate``, which adds the place in the text to a
    fault, and the folder of the file."""

    pipeline: Pipeline
    faults: Faults
    locate: Callable[[Fault], Fault]
    folder: Path
    rules: Rules  # by which it was loaded
    modules: Modules = NO_MODULES  # in which classes of the user's may lie

    def origin(self, path: str) -> str:
        """Where a field was set, for messages other than faults of the config: the field and its
        place in the text, ``model_dir (my.config:2)``, or the flag of the command line."""
        field = self.locate(Fault(path, ""))
        if not field.where.startswith("--"):
            return f"{field.path} ({field.where})"
        own = f"--{path.rpartition('.')[2]}"
        return own if field.where == own else f"{field.path} in {field.where}"

    def reading(self, paths: Mapping[str, str]) -> "Config":
        """The config with other ``paths`` to read, by the names of their fields."""
        pipeline = Pipeline()
        pipeline.CopyFrom(self.pipeline)
        for name, path in paths.items():
            setattr(pipeline, name, path)
        return replace(self, pipeline=pipeline)

    def __getstate__(self) -> dict[str, Any]:
        """Without the rules, which are functions; whoever unpickles it gathers them anew."""
        return {name: value for name, value in vars(self).items() if name != "rules"}


def load(
    path: str | Path,
    *,
    rules: Rules,
    settings: Settings = (),
    flags: Mapping[str, str] | None = None,
    edits_json: str | None = None,
    modules: Modules = NO_MODULES,
) -> Config:
    """Read a text (or ``.json``) config.

    ``rules`` are those of ``build.rules()``, which include those of models and features.
    ``settings`` are ``PATH=VALUE`` texts, or values by path; ``flags`` are the values of fields by
    path, where the last part of the path is the name of the flag; ``edits_json`` is a JSON object
    of edits; ``modules`` may hold classes of the user's, as they may for the rules. Faults are
    collected, not raised, so that building can add its own; only an unreadable file, and one that
    is to be converted first, raise.
    """
    path = Path(local(path, "--pipeline_config"))
    pipeline, faults = Pipeline(), Faults()
    outline = reader.parse(path, _content(path), pipeline, FACTS, faults)
    check_kind(outline, CONFIG, "--pipeline_config", path)
    edits = edit.from_flags(settings, flags or {}, edits_json, faults)
    changes = edit.apply(edits, pipeline, FACTS, faults)
    written = rules.rewrite(pipeline, faults)
    _make_local(pipeline, faults)
    rules.check(pipeline, faults)
    locate = Locator(outline, changes, written)
    return Config(pipeline, faults, locate, path.parent, rules, modules)


@dataclass(frozen=True)
class Locator:
    """Adds to a fault its path as written, and the flag that set it or else its line in the text.

    ``rewritten``: paths of the canonical config, each with the path that the user wrote."""

    outline: Outline
    changes: edit.Changes
    rewritten: Mapping[str, str]

    def __call__(self, fault: Fault) -> Fault:
        if fault.where:
            return fault
        place = fault.path
        for rewritten, own in self.rewritten.items():
            if lies_in(fault.path, rewritten):
                place = own + fault.path.removeprefix(rewritten)
        flags = [flag for changed, flag in self.changes.changed if lies_in(place, changed)]
        if flags:
            return replace(fault, path=place, where=flags[-1])
        place = self.changes.written(place)
        return replace(fault, path=place, where=self.outline.locate(place))


def _make_local(pipeline: Pipeline, faults: Faults) -> None:
    """Expand the paths that are written to, or whose content is read with no reader of data."""
    for place in LOCAL_PATHS:
        message, (*parents, name) = pipeline, place.split(".")
        for parent in parents:
            message = getattr(message, parent) if message.HasField(parent) else None
            if message is None:
                break
        if message is not None and message.HasField(name):
            with faults.under(""):
                setattr(message, name, local(getattr(message, name), place))


def _content(path: Path) -> str:
    """The text of the config file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        siblings = [sibling.name for sibling in path.parent.glob("*")]
        words = f"{path} does not exist{did_you_mean_file(path.name, siblings)}"
    except IsADirectoryError:
        words = pathkind.not_a_config(path)
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is 0x{error.object[error.start]:x}"
        words = f"{path} is not valid UTF-8: {byte}; save it as UTF-8"
        if pathkind.kind_of(path) == "a data file":
            words = pathkind.not_a_config(path)
    except OSError as error:
        words = f"cannot read {path}: {error.strerror}"
    raise ConfigError.at("--pipeline_config", words)
