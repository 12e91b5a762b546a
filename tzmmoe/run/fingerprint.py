"""What the numbers of a checkpoint stand for, where names and shapes alone do not tell."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tzmmoe.errors import CheckpointError
from tzmmoe.features import Feature
from tzmmoe.system.checkpoint import Checkpoint


def meaning(
    groups: Mapping[str, Sequence[str]], features: Sequence[Feature], tasks: Sequence[str]
) -> dict[str, Any]:
    """As JSON: the features of each group in their order, the tasks in theirs, and how the values
    of each feature become rows of its table."""
    return {
        "groups": {name: list(members) for name, members in groups.items()},
        "tasks": list(tasks),
        "rows": {feature.name: feature.meaning for feature in features},
    }


def check_meaning(checkpoint: Checkpoint, current: Mapping[str, Any]) -> None:
    """Raise CheckpointError, with all differences, when weights would stand for something else."""
    try:
        saved = checkpoint.state["meaning"]
        found = list(_differences(saved, current))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint.path}: state.json lacks {error}") from error
    if found:
        listed = "\n  ".join(found)
        raise CheckpointError(
            f"{checkpoint.path} was made for another config, so its weights would be taken for "
            f"something else:\n  {listed}"
        )


def _differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[str]:
    for name, members in current["groups"].items():
        before = saved["groups"].get(name)
        if before is None:
            yield f"feature group {name!r}: not in the checkpoint"
        elif before != members:
            yield from _changes(f"feature group {name!r}", "features", before, members)
    if saved["tasks"] != current["tasks"]:
        yield from _changes("task_towers", "towers", saved["tasks"], current["tasks"])
    for name, way in current["rows"].items():
        before = saved["rows"].get(name, way)
        if before != way:
            yield f"{name}: a value's row was {before}, and is {way} in the config"


def _changes(where: str, what: str, before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    more = [name for name in now if name not in before]
    fewer = [name for name in before if name not in now]
    if more:
        yield f"{where}: the config adds {', '.join(more)}"
    if fewer:
        yield f"{where}: the config lacks {', '.join(fewer)}"
    if not more and not fewer:
        yield f"{where}: the {what} have another order; write {', '.join(before)}"
