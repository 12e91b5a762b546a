"""Whole pipelines of EasyRec, told from configs of ours by their outline.

Their train, data and feature settings have other fields, so that reading them as a config would
list hundreds of unknown ones.
"""

import shlex
from collections.abc import Iterable, Iterator

from tzmmoe.textformat.outline import Node, Outline

# (message, field) of fields that EasyRec needs and this schema lacks. One alone may be a slip.
MARKS = (
    ("train_config", "optimizer_config"),
    ("data_config", "input_type"),
    ("feature_config", "features"),
    ("feature_configs", "input_names"),
    ("feature_configs", "feature_type"),
)
NEEDED = 2  # of the messages of MARKS


def conversion_of(outline: Outline, path: str) -> str:
    """What to do with a text that is a pipeline of EasyRec; empty if it is none."""
    marked = {
        owner.removesuffix("s")
        for owner, name in MARKS
        if any(node.name == name for node in _inside(outline.fields, owner))
    }
    if len(marked) < NEEDED:
        return ""
    has_configs = any(node.name == "feature_configs" for node in outline.fields)
    if has_configs and "feature_config" not in marked:  # they are in our own form
        return ""
    return (
        "is a pipeline of EasyRec; convert it to a config first: python -m tzmmoe.convert easyrec "
        f"--config {shlex.quote(path)} --out NAME.config"
    )


def _inside(nodes: Iterable[Node], name: str) -> Iterator[Node]:
    """The fields of all messages that have this name."""
    for node in nodes:
        if node.name == name:
            for element in [node] if node.elements is None else node.elements:
                yield from element.fields or ()
