"""What a text is, told by its outline: a config of ours, a whole pipeline of EasyRec, or the JSON
of a job or its inputs.

Each has other fields, so that reading one as another would list hundreds of unknown ones.
"""

import shlex
from collections.abc import Iterable, Iterator

from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat import json_text
from tzmmoe.textformat.outline import Node, Outline

CONFIG, PIPELINE, JOB, INPUTS = "config", "pipeline", "job", "inputs"

# (message, field) of fields that EasyRec needs and this schema lacks. One alone may be a slip.
MARKS = (
    ("train_config", "optimizer_config"),
    ("data_config", "input_type"),
    ("feature_config", "features"),
    ("feature_configs", "input_names"),
    ("feature_configs", "feature_type"),
)
# Those of this schema, and of TorchEasyRec's, which EasyRec lacks.
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
NEEDED = 2  # of the messages of either


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
    """CONFIG, PIPELINE, JOB or INPUTS; empty if it is neither, or only partly one of them."""
    names = {node.name for node in outline.fields}
    if outline.json and "job_detail" in names:
        return JOB
    if outline.json and "inputs" in names:
        return INPUTS
    theirs, ours = _marked(outline, MARKS), _marked(outline, OWN_MARKS)
    if len(theirs) >= NEEDED and ("feature_configs" not in names or "feature_config" in theirs):
        return PIPELINE  # else its features are in our own form
    is_one = 2 * len(names & set(Pipeline.DESCRIPTOR.fields_by_name)) > len(names)
    return CONFIG if is_one and len(ours) >= NEEDED > len(theirs) else ""


def remedy(kind: str, path: str) -> str:
    """What a file of a kind is, and the command that takes it; empty for no kind."""
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
    }.get(kind, "")


def _marked(outline: Outline, marks: Iterable[tuple[str, str]]) -> set[str]:
    """The messages with a mark."""
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
