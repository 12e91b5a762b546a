"""Recognizes a file by its outline: a config of ours, a whole pipeline of EasyRec, or the JSON of a
job or of its inputs.

They have different fields, so reading one as another would report hundreds of unknown fields.
"""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from tzmmoe.errors import ConfigError
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat import json_text
from tzmmoe.textformat.outline import Node, Outline

CONFIG, PIPELINE, JOB, INPUTS = "config", "pipeline", "job", "inputs"

# (message, field): those that EasyRec requires and this schema lacks. One alone may be a slip.
MARKS = (
    ("train_config", "optimizer_config"),
    ("data_config", "input_type"),
    ("feature_config", "features"),
    ("feature_configs", "input_names"),
    ("feature_configs", "feature_type"),
)
# Those of this schema, and of TorchEasyRec's, that EasyRec lacks.
OWN_MARKS = (
    ("train_config", "optimizer"),
    ("train_config", "sparse_optimizer"),
    ("train_config", "dense_optimizer"),
    ("data_config", "dataset_type"),
    ("data_config", "fg_mode"),
    ("data_config", "fg_encoded"),
    ("feature_configs", "id_feature"),
    ("feature_configs", "raw_feature"),
)
NEEDED = 2  # messages with a mark


def outline_of(text: str) -> Outline:
    """The outline of a text in protobuf's text form, or in JSON if it begins with a brace."""
    plain = json_text.plain(text)
    if plain.lstrip().startswith("{"):
        try:
            if isinstance(json_text.parse(plain), dict):
                return Outline("", plain, json=True)
        except ValueError:
            return Outline("", "")
    return Outline("", text)


def kind_of(outline: Outline) -> str:
    """CONFIG, PIPELINE, JOB or INPUTS; empty if it is none of them, or not clearly one."""
    names = {node.name for node in outline.fields}
    if outline.json and "job_detail" in names:
        return JOB
    if outline.json and "inputs" in names:
        return INPUTS
    theirs, ours = _marked(outline, MARKS), _marked(outline, OWN_MARKS)
    if len(theirs) >= NEEDED and ("feature_configs" not in names or "feature_config" in theirs):
        return PIPELINE  # otherwise its features are in our own form
    is_mostly_ours = 2 * len(names & set(Pipeline.DESCRIPTOR.fields_by_name)) > len(names)
    return CONFIG if is_mostly_ours and len(ours) >= NEEDED > len(theirs) else ""


def check_kind(outline: Outline, expected: str, where: str, path: Path) -> None:
    """Raise ConfigError for a file of a kind other than expected, with the command that takes it.

    ``where``: the flag or field that names the file.
    """
    kind = kind_of(outline)
    if kind not in ("", expected):
        raise ConfigError.at(where, f"{path} {_remedy(kind, str(path))}")


def _remedy(kind: str, path: str) -> str:
    """What a file is, and the command that takes it."""
    file = shlex.quote(path)
    convert = "convert it to a config first: python -m tzmmoe.convert"
    return {
        CONFIG: "is already a config that tzmmoe reads; train with it: python -m tzmmoe.train "
        f"--pipeline_config {file}",
        PIPELINE: f"is a pipeline of EasyRec; {convert} easyrec --config {file} --out NAME.config",
        JOB: f"is a JSON job of the MMoE V2 template; {convert} tencent --job {file} "
        "--out NAME.config",
        INPUTS: "is the JSON of a job's inputs; convert it together with the job: python -m "
        f"tzmmoe.convert tencent --job JOB.json --inputs {file} --out NAME.config",
    }[kind]


def _marked(outline: Outline, marks: Iterable[tuple[str, str]]) -> set[str]:
    """The messages that have one of the marks, in the singular."""
    return {
        owner.removesuffix("s")
        for owner, name in marks
        if any(node.name == name for node in _inside(outline.fields, owner))
    }


def _inside(nodes: Iterable[Node], name: str) -> Iterator[Node]:
    """The fields of all messages that have this name."""
    for node in nodes:
        if node.name == name:
            for element in [node] if node.elements is None else node.elements:
                yield from element.fields or ()
