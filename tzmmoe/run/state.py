"""The state of a run in a checkpoint: what it contains, how it is restored, what it belongs to.

Tensors go by name, the rest is JSON. Each table has its own name, with its rows of the optimizer's
state, so that a later run may lay the tables out differently.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tzmmoe.batch import Position
from tzmmoe.build import Built
from tzmmoe.config import shapes
from tzmmoe.data.plan.order import Order
from tzmmoe.errors import CheckpointError
from tzmmoe.learning.step import TrainStep
from tzmmoe.models.rank import RankModel
from tzmmoe.system.checkpoint import Checkpoint, MisfitError
from tzmmoe.system.seeds import seed_of
from tzmmoe.system.tensorfiles import Scattered
from tzmmoe.system.world import World
from tzmmoe.tables.sharded import ShardedTables
from tzmmoe.tables.table import Tables


def weights(model: RankModel) -> dict[str, Tensor | Scattered]:
    """Parameters and buffers; tables under their own names, sharded ones in parts."""
    tables = {name: part for name, part in model.named_modules() if isinstance(part, Tables)}
    stacked = {f"{name}.weight" for name in tables}
    named = {f"model.{n}": t for n, t in model.state_dict().items() if n not in stacked}
    for module in tables.values():
        for table in module.spans:
            named[f"tables.{table}.weight"] = module.rows_of(table, module.weight.detach())
    for part in model.modules():
        if isinstance(part, ShardedTables):
            parts = part.store.weights(part.group)
            named |= {f"tables.{table}.weight": weight for table, weight in parts.items()}
    return named


def optimizer_state(step: TrainStep) -> dict[str, Tensor | Scattered]:
    """The state of both optimizers, and the gradients pending for the dense part's next step."""
    named: dict[str, Tensor | Scattered] = {}
    for optimizer in step.tables.optimizers:
        for module in step.tables.modules.values():
            for key, tensor in optimizer.state.get(module.weight, {}).items():
                for table in module.spans:
                    named[f"tables.{table}.{key}"] = module.rows_of(table, tensor)
    for part in step.tables.sharded:
        for key, parts in part.store.state(part.group).items():
            named |= {f"tables.{table}.{key}": tensor for table, tensor in parts.items()}
    for name, parameter in step.dense.parameters.items():
        for key, tensor in step.dense.optimizer.state[parameter].items():
            if isinstance(tensor, Tensor):
                named[f"dense_optimizer.{name}.{key}"] = tensor
    if step.dense.pending:
        for name, parameter in step.dense.parameters.items():
            if parameter.grad is not None:
                named[f"gradients.{name}"] = parameter.grad
    return named


def random_state(device: torch.device) -> dict[str, Tensor]:
    named = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        named["random.cuda"] = torch.cuda.get_rng_state(device)
    return named


def by_rank(randoms: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The random states of all processes, each under its rank."""
    return {
        f"{name}.{rank}": state for rank, own in enumerate(randoms) for name, state in own.items()
    }


def reading(order: Order, position: Position) -> dict[str, Any]:
    """How far a process has read the data."""
    return {"order": order.to_json(), "position": asdict(position)}


def json_state(step: TrainStep, readings: Sequence[dict[str, Any]], steps: int) -> dict[str, Any]:
    """The part of the state that is not tensors. ``readings``: of all processes."""
    return {
        "steps": steps,
        "optimizers": words(step),
        "reading": list(readings),
        "pending": step.dense.pending,
        "sparse_steps": sum(optimizer.steps for optimizer in step.tables.optimizers),
        "scaler": step.dense.scaler.state_dict() or None,  # a disabled one has no state
    }


def words(step: TrainStep) -> dict[str, str]:
    """The optimizers, by their words in the schema."""
    return {"sparse": step.tables.word, "dense": step.dense.word}


@contextmanager
def explained(checkpoint: Checkpoint, config: str) -> Iterator[None]:
    """A MisfitError that leaves the block begins with the settings of ``config`` that differ from
    those of the checkpoint."""
    try:
        yield
    except MisfitError as error:
        saved = (checkpoint.path / "pipeline.config").read_text(encoding="utf-8")
        if not (listed := "\n  ".join(shapes.changes(saved, config))):
            raise
        head, _, tensors = str(error).partition("\n")
        text = f"{head}\n  {listed}\n  and these tensors differ:\n{tensors}"
        raise MisfitError(text) from error


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Append advice to an error, raised in the block, that a checkpoint does not fit the model."""
    try:
        yield
    except (MismatchError, MisfitError) as error:
        raise type(error)(f"{error}\n{advice}") from error


def restore_weights(checkpoint: Checkpoint, model: RankModel) -> None:
    checkpoint.read(weights(model))


def restore_optimizers(checkpoint: Checkpoint, step: TrainStep) -> None:
    """The state of both optimizers, pending gradients, counts and scale.

    Raises:
        CheckpointError: the checkpoint belongs to other optimizers.
    """
    saved = checkpoint.state
    if saved["optimizers"] != words(step):
        before, now = (" and ".join(d.values()) for d in (saved["optimizers"], words(step)))
        raise CheckpointError(f"{checkpoint.path} holds the state of {before}, not of {now}")
    shapes, dense = checkpoint.shapes(), step.dense
    for name, parameter in dense.parameters.items():
        prefix = f"dense_optimizer.{name}."
        for key in (path.removeprefix(prefix) for path in shapes if path.startswith(prefix)):
            tensors = dense.optimizer.state[parameter]
            if "." not in key and key not in tensors:  # SGD's momentum, made at its first step
                tensors[key] = torch.empty_like(parameter)
        parameter.grad = None
        if saved["pending"] and f"gradients.{name}" in shapes:
            parameter.grad = torch.empty_like(parameter)
    dense.pending = saved["pending"]
    checkpoint.read(optimizer_state(step))
    for optimizer in step.tables.optimizers:
        optimizer.steps = saved["sparse_steps"]
    if saved["scaler"]:
        dense.scaler.load_state_dict(saved["scaler"])


def restore_random(checkpoint: Checkpoint, device: torch.device, world: World) -> None:
    """The random state of each process, if there are as many as before; otherwise new ones from the
    seed, the step and the rank."""
    shapes = checkpoint.shapes()
    if f"random.cpu.{world.size}" in shapes or f"random.cpu.{world.size - 1}" not in shapes:
        torch.manual_seed(seed_of(torch.initial_seed(), f"step {checkpoint.step}"))
        return
    cpu, cuda = (f"random.{kind}.{world.rank}" for kind in ("cpu", "cuda"))
    names = [name for name in ((cpu, cuda) if device.type == "cuda" else (cpu,)) if name in shapes]
    states = {name: torch.empty(shapes[name], dtype=torch.uint8) for name in names}
    checkpoint.read(states)
    torch.set_rng_state(states[cpu])
    if cuda in states:
        torch.cuda.set_rng_state(states[cuda], device)


def positions(checkpoint: Checkpoint) -> tuple[list[tuple[Order, Position]], int]:
    """The order of the data and the position in it of each process, and the steps done."""
    try:
        readings = [
            (Order.from_json(saved["order"]), Position(**saved["position"]))
            for saved in checkpoint.state["reading"]
        ]
        return readings, checkpoint.state["steps"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint.path}: state.json lacks {error}") from error


KEY = "meaning"  # in state.json


class MismatchError(CheckpointError):
    """A checkpoint has another fingerprint."""


@dataclass(frozen=True)
class Fingerprint:
    """What the weights of a model depend on: the order of the features in each group and of the
    tasks, how the values of each feature become rows of its table, and the user's classes; and the
    features' widths, which a model of the same shapes has anyway."""

    groups: Mapping[str, Sequence[str]]
    tasks: Sequence[str]
    rows: Mapping[str, str]
    classes: Mapping[str, str]
    widths: Mapping[str, int]

    @classmethod
    def of(cls, built: Built) -> "Fingerprint":
        """The fingerprint of a model."""
        return cls(
            groups={name: list(members) for name, members in built.groups.items()},
            tasks=[task.name for task in built.tasks.tasks],
            rows={feature.name: feature.row_rule for feature in built.features},
            classes=dict(built.classes),
            widths={feature.name: feature.width for feature in built.features},
        )

    def to_json(self) -> dict[str, Any]:
        """The part of state.json that ``check`` reads."""
        return {KEY: asdict(self)}

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise MismatchError with all differences if the checkpoint has another fingerprint."""
        try:
            differences = list(_differences(checkpoint.state[KEY], asdict(self)))
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{checkpoint.path}: state.json lacks {error}") from error
        if differences:
            listed = "\n  ".join(differences)
            raise MismatchError(
                f"{checkpoint.path} belongs to another config, so its weights would be "
                f"misinterpreted:\n  {listed}"
            )


def _differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[str]:
    for name, members in current["groups"].items():
        before = saved["groups"].get(name)
        if before is None:
            yield f"feature group {name!r}: not in the checkpoint"
        elif before != members:
            yield from _changes(f"feature group {name!r}", "features", before, members)
    if saved["tasks"] != current["tasks"]:
        yield from _changes("tasks", "tasks", saved["tasks"], current["tasks"])
    for name, rule in current["rows"].items():
        before = saved["rows"].get(name, rule)
        if before != rule:
            yield f"{name}: a value's row was {before}, and is {rule} in the config"
    classes, before = current["classes"], saved.get("classes", {})  # older checkpoints have none
    for name in before | classes:
        was, found = (part.get(name, "not a class of your own") for part in (before, classes))
        if was != found:
            yield f"{name}: was {was}, and is {found} in the config"


def _changes(where: str, kind: str, before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    added = ", ".join(name for name in now if name not in before)
    missing = ", ".join(name for name in before if name not in now)
    if added:
        yield f"{where}: the config adds {added}"
    if missing:
        yield f"{where}: the config lacks {missing}"
    if not added and not missing:
        yield f"{where}: the {kind} are in another order; write {', '.join(before)}"
