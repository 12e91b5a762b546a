"""What the numbers of a checkpoint stand for, where names and shapes alone do not tell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tzmmoe.build import Built
from tzmmoe.errors import CheckpointError
from tzmmoe.system.checkpoint import Checkpoint

KEY = "meaning"  # in state.json


@dataclass(frozen=True)
class Fingerprint:
    """The features of each group in their order, the tasks in theirs, and how the values of each
    feature become rows of its table."""

    groups: Mapping[str, Sequence[str]]
    tasks: Sequence[str]
    rows: Mapping[str, str]

    @classmethod
    def of(cls, built: Built) -> "Fingerprint":
        """What the weights of a model stand for."""
        return cls(
            groups={name: list(members) for name, members in built.groups.items()},
            tasks=[task.name for task in built.tasks.tasks],
            rows={feature.name: feature.meaning for feature in built.features},
        )

    def facts(self) -> dict[str, Any]:
        """As state.json has it."""
        return {KEY: asdict(self)}

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise CheckpointError, with all differences, when weights stand for something else."""
        try:
            differences = list(_differences(checkpoint.state[KEY], asdict(self)))
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{checkpoint.path}: state.json lacks {error}") from error
        if differences:
            listed = "\n  ".join(differences)
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
    for name, rule in current["rows"].items():
        before = saved["rows"].get(name, rule)
        if before != rule:
            yield f"{name}: a value's row was {before}, and is {rule} in the config"


def _changes(where: str, what: str, before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    added = [name for name in now if name not in before]
    missing = [name for name in before if name not in now]
    if added:
        yield f"{where}: the config adds {', '.join(added)}"
    if missing:
        yield f"{where}: the config lacks {', '.join(missing)}"
    if not added and not missing:
        yield f"{where}: the {what} are in another order; write {', '.join(before)}"
