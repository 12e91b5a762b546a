"""Weights of another run's model that fit this one, which may have other features, tasks, words.

A tensor is taken if its name and shape are the same and mean the same. For a table this depends on
how values become rows. A layer above the tables goes by its shape: a group's features and the tasks
may only have become more, or fewer, so that whatever reads any of them has another shape unless
nothing changed for it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tzmmoe.build import Built
from tzmmoe.errors import CheckpointError, few
from tzmmoe.features import Feature
from tzmmoe.run import averages
from tzmmoe.run.state import KEY, Fingerprint, weights
from tzmmoe.system.checkpoint import Checkpoint
from tzmmoe.system.tensorfiles import Scattered

TABLE = "tables."  # begins the names of tables' tensors
OTHERWISE = (  # what to do with a checkpoint of which nothing, or little, fits
    "train from scratch without train_config.fine_tune_checkpoint, choose another checkpoint, or "
    "list the tensors to take in train_config.fine_tune_ckpt_param_map, without partial_restore"
)


@dataclass
class RestorePlan:
    """The tensors of a checkpoint and of a model, sorted by what becomes of them.

    ``grown``: tables with more rows than before, each with the rows of both. ``new`` tensors of the
    model keep their initial values, and ``unused`` ones of the checkpoint are left out, each with
    the reason.
    """

    taken: list[str] = field(default_factory=list)
    grown: dict[str, tuple[int, int]] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """What is not simply taken, a line for each tensor."""
        for name, (before, now) in self.grown.items():
            yield f"grown  {name}: {before:,} rows from the checkpoint, {now - before:,} new"
        for name, reason in self.new.items():
            yield f"new    {name}: {reason}"
        for name, reason in self.unused.items():
            yield f"unused {name}: {reason}"


def restore_partially(checkpoint: Checkpoint, built: Built) -> str:
    """Load what fits; the lines to log, which name everything else.

    Raises:
        CheckpointError: layers could be misread, or nothing fits.
    """
    saved, own = checkpoint.state.get(KEY), weights(built.model)
    if not isinstance(saved, Mapping) or "widths" not in saved:
        raise CheckpointError(
            f"{checkpoint.path}: written by an earlier version, without what "
            "train_config.partial_restore needs; resume that run for one step to save it"
        )
    current = Fingerprint.of(built)
    if misread := list(_misread(saved, current)):
        if strange := _strange(saved, current):
            raise CheckpointError(f"{checkpoint.path}: is of another model: {strange}; {OTHERWISE}")
        listed = "\n  ".join(misread)
        raise CheckpointError(f"{checkpoint.path} could be misread:\n  {listed}")
    sizes = {
        name: target.size if isinstance(target, Scattered) else tuple(target.shape)
        for name, target in own.items()
    }
    found = plan(checkpoint.shapes(), sizes, lambda name, rows: _moved(name, rows, built, saved))
    took = [*found.taken, *found.grown]
    lines = "".join(f"\n  {line}" for line in found.lines())
    if not took:
        raise CheckpointError(
            f"{checkpoint.path}: no tensor fits the model:{lines}\nso nothing is taken; {OTHERWISE}"
        )
    averages.read(checkpoint, {name: own[name] for name in took}, grown=found.grown)
    return f"{len(took)} of {len(own)} tensors come from {averages.source(checkpoint)}{lines}"


Size = tuple[int, ...]


def plan(
    saved: Mapping[str, Size], current: Mapping[str, Size], moved: Callable[[str, int], str]
) -> RestorePlan:
    """Sort the tensors of a checkpoint and of a model by their shapes. ``moved`` says why the first
    rows of a table, as many as the checkpoint has, do not belong to the values that they had."""
    found = RestorePlan()
    for name, size in current.items():
        before = saved.get(name)
        if before is None:
            found.new[name] = "not in the checkpoint"
            continue
        is_table = name.startswith(TABLE)
        grows = is_table and before[1:] == size[1:] and before[0] < size[0]
        if before != size and not grows:
            found.new[name] = f"{list(before)} in the checkpoint, {list(size)} in the model"
        elif is_table and (reason := moved(name, before[0])):
            found.new[name] = reason
        elif grows:
            found.grown[name] = (before[0], size[0])
        else:
            found.taken.append(name)
    for name in saved:
        if name not in current and _is_weight(name):
            found.unused[name] = "not in the model"
    return found


def _is_weight(name: str) -> bool:
    """Whether a tensor of a checkpoint is a weight, and no optimizer's state."""
    return name.startswith("model.") or (name.startswith(TABLE) and name.endswith(".weight"))


def _moved(name: str, rows: int, built: Built, saved: Mapping[str, Any]) -> str:
    """Why the first rows of a table do not belong to the values that they had; empty if they do."""
    table = name.removeprefix(TABLE).removesuffix(".weight")
    read = [feature for feature in built.features if _reads(feature, table)]
    known = [feature for feature in read if feature.name in saved["rows"]]
    if not known:
        return "the checkpoint has no feature of these that read it: " + few([f.name for f in read])
    for feature in known:
        kind, rule = f"feature {feature.name!r}", saved["rows"][feature.name]
        was, now = (classes.get(kind) for classes in (saved["classes"], built.classes))
        if was != now:
            return f"{kind} was {was or 'of another kind'}, and is {now or 'of another kind'}"
        if not feature.keeps_rows(rule, rows):
            if rule == feature.row_rule:
                return f"the row of a value of {feature.name} depends on the number of rows"
            return f"{feature.name}: a value's row was {rule}, and is {feature.row_rule}"
    return ""


def _reads(feature: Feature, table: str) -> bool:
    """Whether a feature reads a table: its own, or one that a body's factor made for it."""
    if feature.table is None:
        return False
    owner = table.rpartition(".")[0]  # of a factor's table, see Factor.table_name
    return owner in (feature.name, feature.table.name) if owner else table == feature.table.name


def _strange(saved: Mapping[str, Any], current: Fingerprint) -> str:
    """That a model has so few features of the checkpoint's that hardly anything fits; empty if it
    has half of its own from there."""
    before, now = list(saved["rows"]), list(current.rows)
    both = [name for name in now if name in before]
    if 2 * len(both) >= len(now):
        return ""
    fits = "little" if both else "nothing"
    return (
        f"its features are {few(before)}, of which the config's {len(now)} features have "
        f"{few(both) or 'none'}, so {fits} of it fits"
    )


def _misread(saved: Mapping[str, Any], current: Fingerprint) -> Iterator[str]:
    """A line for each change after which a layer of the same shape could mean something else."""
    was, now = (classes.get("model") for classes in (saved["classes"], current.classes))
    if was != now:
        yield f"model: was {was or 'no class of your own'}, and is {now or 'none'} in the config"
    for name, members in current.groups.items():
        if name in saved["groups"]:
            before = {member: saved["widths"][member] for member in saved["groups"][name]}
            after = {member: current.widths[member] for member in members}
            yield from _mixed(f"feature group {name!r}", before, after)
    before, after = (dict.fromkeys(tasks, 1) for tasks in (saved["tasks"], current.tasks))
    yield from _mixed("tasks", before, after)


def _mixed(where: str, before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[str]:
    """Unless members, each with its width, only came or grew, or only went or shrank."""
    kept = [name for name in before if name in now]
    if kept != [name for name in now if name in before]:
        yield f"{where}: the order has changed; list them as {', '.join(kept)}"
    more = [name for name in now if now[name] > before.get(name, 0)]
    less = [name for name in before if before[name] > now.get(name, 0)]
    if more and less:
        yield (
            f"{where}: {few(more)} added or widened, and {few(less)} removed or narrowed; make one "
            "of these changes per run"
        )
