"""Everything that a run must remember, as tensors by name and as JSON; and fine-tuning.

Each table goes under its own name, with its rows of the optimizer's state, so that a later run may
lay the tables out differently.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tzmmoe.batch import Position
from tzmmoe.build import Built
from tzmmoe.data.plan.order import Order
from tzmmoe.errors import CheckpointError, ConfigError, did_you_mean
from tzmmoe.learning.step import TrainStep
from tzmmoe.models.rank import RankModel
from tzmmoe.system.checkpoint import Checkpoint
from tzmmoe.system.seeds import seed_of
from tzmmoe.system.tensorfiles import Scattered
from tzmmoe.system.world import World
from tzmmoe.tables.sharded import ShardedTables
from tzmmoe.tables.table import Tables


def weights(model: RankModel) -> dict[str, Tensor | Scattered]:
    """Parameters and buffers; tables by their own names, sharded ones in parts."""
    tables = {name: part for name, part in model.named_modules() if isinstance(part, Tables)}
    stacked = {f"{name}.weight" for name in tables}
    named = {f"model.{n}": t for n, t in model.state_dict().items() if n not in stacked}
    for module in tables.values():
        for table in module.spans:
            named[f"tables.{table}.weight"] = module.rows_of(table, module.weight.detach())
    for part in model.modules():
        if isinstance(part, ShardedTables):
            held = part.store.weights(part.group)
            named |= {f"tables.{table}.weight": each for table, each in held.items()}
    return named


def optimizer_state(step: TrainStep) -> dict[str, Tensor | Scattered]:
    """State of both optimizers, and the gradients that wait for the dense part's next step."""
    named: dict[str, Tensor | Scattered] = {}
    for optimizer in step.tables.optimizers:
        for module in step.tables.modules.values():
            for key, tensor in optimizer.state.get(module.weight, {}).items():
                for table in module.spans:
                    named[f"tables.{table}.{key}"] = module.rows_of(table, tensor)
    for part in step.tables.sharded:
        for key, held in part.store.state(part.group).items():
            named |= {f"tables.{table}.{key}": each for table, each in held.items()}
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
    """The random states of all processes, each by its rank."""
    return {
        f"{name}.{rank}": state for rank, own in enumerate(randoms) for name, state in own.items()
    }


def stand(order: Order, position: Position) -> dict[str, Any]:
    """Where one process stands in the data."""
    return {"order": order.to_json(), "position": asdict(position)}


def progress(step: TrainStep, stands: Sequence[dict[str, Any]], steps: int) -> dict[str, Any]:
    """The part of the state that is no tensor. ``stands``: of each process."""
    return {
        "steps": steps,
        "optimizers": words(step),
        "reading": list(stands),
        "pending": step.dense.pending,
        "sparse_steps": sum(optimizer.steps for optimizer in step.tables.optimizers),
        "scaler": step.dense.scaler.state_dict() or None,  # empty where it is disabled
    }


def words(step: TrainStep) -> dict[str, str]:
    """Which optimizers these are, by their words of the schema."""
    return {"sparse": step.tables.word, "dense": step.dense.word}


def restore_weights(checkpoint: Checkpoint, model: RankModel) -> None:
    checkpoint.read(weights(model))


def restore_optimizers(checkpoint: Checkpoint, step: TrainStep) -> None:
    """State of both optimizers, pending gradients, counts and scale.

    Raises:
        CheckpointError: the checkpoint is of other optimizers.
    """
    saved, own = checkpoint.state, words(step)
    if saved["optimizers"] != own:
        was = " and ".join(saved["optimizers"].values())
        raise CheckpointError(
            f"{checkpoint.path} holds the state of {was}, not of {' and '.join(own.values())}"
        )
    shapes, dense = checkpoint.shapes(), step.dense
    for name, parameter in dense.parameters.items():
        prefix = f"dense_optimizer.{name}."
        for key in (each.removeprefix(prefix) for each in shapes if each.startswith(prefix)):
            kept = dense.optimizer.state[parameter]
            if "." not in key and key not in kept:  # SGD's momentum, made at its first step
                kept[key] = torch.empty_like(parameter)
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
    """Each of as many processes goes on with its own state; any other number starts afresh, by the
    seed, the step and the rank."""
    there = checkpoint.shapes()
    names = {name: f"{name}.{world.rank}" for name in random_state(device)}
    if f"random.cpu.{world.size}" in there or f"random.cpu.{world.size - 1}" not in there:
        torch.manual_seed(seed_of(torch.initial_seed(), f"step {checkpoint.step}"))
        return
    states = {
        name: torch.empty(there[name], dtype=torch.uint8)
        for name in names.values()
        if name in there
    }
    checkpoint.read(states)
    torch.set_rng_state(states[names["random.cpu"]])
    if names.get("random.cuda") in states:
        torch.cuda.set_rng_state(states[names["random.cuda"]], device)


def stands(checkpoint: Checkpoint) -> tuple[list[tuple[Order, Position]], int]:
    """Where each process of a run stopped in the data, and the steps done."""
    try:
        found = [
            (Order.from_json(each["order"]), Position(**each["position"]))
            for each in checkpoint.state["reading"]
        ]
        return found, checkpoint.state["steps"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint.path}: state.json lacks {error}") from error


def fine_tune(checkpoint: Checkpoint, model: RankModel, mapping: dict[str, str] | None) -> str:
    """Take weights from another run; what was done, in words.

    Without ``mapping`` every parameter must be there with its shape. With ``mapping`` (name here ->
    name there) only its parameters are taken, and the others keep their initial values.

    Raises:
        CheckpointError: a name that is not there, or another shape.
    """
    own = weights(model)
    if mapping is None:
        checkpoint.read(own)
        return f"all {len(own)} tensors come from {checkpoint.path}"
    strange = [f"{name}{did_you_mean(name, own)}" for name in mapping if name not in own]
    if strange:
        listed = "\n  ".join(strange)
        raise CheckpointError(
            f"fine_tune_ckpt_param_map: there is no such tensor here:\n  {listed}"
        )
    rounds: list[dict[str, Tensor | Scattered]] = [{}]
    for here, there in mapping.items():  # several names here may take from one name there
        free = next((each for each in rounds if there not in each), None)
        if free is None:
            rounds.append(free := {})
        free[there] = own[here]
    for targets in rounds:
        checkpoint.read(targets)
    fresh = [name for name in own if name not in mapping]
    left = f"; initial values: {', '.join(fresh)}" if fresh else ""
    return f"{len(mapping)} of {len(own)} tensors come from {checkpoint.path}{left}"


def read_map(path: Path) -> dict[str, str]:
    """Lines ``name here<TAB>name there``."""
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.at("train_config.fine_tune_ckpt_param_map", str(error)) from error
    pairs = [line.split() for line in lines]
    for line, pair in zip(lines, pairs, strict=True):
        if len(pair) != 2:
            raise ConfigError.at(
                "train_config.fine_tune_ckpt_param_map",
                f"{path}: {line!r} must be a name here, a tab, and a name there",
            )
    return dict(pairs)


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
            rows={feature.name: feature.row_rule for feature in built.features},
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
