"""A job's file and its inputs' file -> a draft of a config, and its text."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tzmmoe.config.recognition import INPUTS, JOB, check_kind, outline_of
from tzmmoe.drafting.check import by_origin, faults_of
from tzmmoe.drafting.placeholders import PLACEHOLDER, Placeholders
from tzmmoe.drafting.section import Entry
from tzmmoe.drafting.tencent import inputs
from tzmmoe.drafting.tencent.job import Job, convert
from tzmmoe.drafting.traced import TracedDraft
from tzmmoe.errors import ConfigError, Fault, Faults
from tzmmoe.system.localpath import local
from tzmmoe.textformat import json_text
from tzmmoe.textformat.scalars import json_kind


def converted(
    path: Path, inputs_path: str | None, placeholders: Placeholders, labels: list[str] | None
) -> tuple[TracedDraft, list[Path]]:
    """The draft, and the files that it was made from.

    Raises:
        ConfigError: all faults of both files.
    """
    draft = TracedDraft(report=placeholders.report)
    of_job, of_inputs = Faults(), Faults()
    _check_kind(path, "--job", JOB)
    value = placeholders.expand(json_text.read(path, "--job"), "", of_job)
    place = _placing(placeholders)
    job = Job.of(value, placeholders.folder, place, of_job, draft.report)
    source, found = None, inputs.Inputs({}, None)
    with of_job.under(""):
        source, content = _inputs_file(value, inputs_path, place)
        content = placeholders.expand(content, "", of_inputs)
        found = inputs.parse(content, of_inputs, draft.report)
    convert(job, found, draft, of_inputs, labels)
    if not of_job and not of_inputs:
        for fault in check(draft):
            (of_inputs if fault.path.startswith("inputs") else of_job).append(fault)
    faults = [*_located(of_job, path), *_located(of_inputs, source or path)]
    if faults:
        raise ConfigError(dict.fromkeys(faults))
    return draft, [path, source]


def heading(sources: Sequence[Path], command: str) -> list[str]:
    """What the config begins with. ``command`` trains with it."""
    files = " and ".join(str(each) for each in sources)
    return [
        f"Converted by python -m tzmmoe.convert tencent from {files}:\n    {command}",
        "Comments name the keys behind settings, without job_detail; default: not in the job.",
    ]


def _placing(placeholders: Placeholders) -> Callable[[Entry], str]:
    """Paths lie in the job's folder, unless they are absolute or began with ``~`` or with another
    folder."""

    def place(given: Entry) -> str:
        before, _ = placeholders.report.expansions.get(given.path, (given.value, ""))
        found = PLACEHOLDER.match(before.replace("`", ""))
        began = found and (found["braced"] or found["bare"]) != "DATE"
        if began or "://" in given.value or given.value.startswith("~"):
            return given.value
        return str(Path(placeholders.folder) / given.value)

    return place


def _inputs_file(
    job: dict[str, Any], inputs_path: str | None, place: Callable[[Entry], str]
) -> tuple[Path, dict[str, Any]]:
    """The file of the inputs, and what it holds. Raises ConfigError."""
    key = "job_detail.model_input_config_file"
    if inputs_path is not None:
        _check_kind(Path(inputs_path), "--inputs", INPUTS)
        return Path(inputs_path), json_text.read(Path(inputs_path), "--inputs")
    detail = job.get("job_detail")
    name = detail.get("model_input_config_file") if isinstance(detail, dict) else None
    if not isinstance(name, str) or not name.strip():
        state = "not set" if name is None else json_kind(name)
        raise ConfigError.at(key, f"is {state}; give a path, or pass --inputs")
    path = Path(local(place(Entry(name.strip(), key)), key))
    _check_kind(path, key, INPUTS)
    return path, json_text.read(path, key)


def _check_kind(path: Path, where: str, expected: str) -> None:
    """Raise ConfigError for a file of another kind, all of whose keys would be unknown."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return  # json_text.read reports it
    check_kind(outline_of(text), expected, where, path)


def _located(faults: Faults, path: Path) -> list[Fault]:
    """The faults with the file that they are in; those of flags have none."""
    return [
        fault if fault.where or fault.path.startswith("--") else replace(fault, where=str(path))
        for fault in faults
    ]


def check(draft: TracedDraft) -> list[Fault]:
    """The faults that need neither data nor the memory of a model."""
    return [by_origin(fault, draft.origins) for fault in faults_of(draft.pipeline)]
