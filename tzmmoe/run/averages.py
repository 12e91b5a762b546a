"""Averages of the weights in a checkpoint, beside the weights.

``ema.<tensor>`` is the average of a tensor. That of a table is as of the step before each row last
changed; ``ema.tables.<table>.log_decay`` says which, so that saving moves no number that training
goes on with. See ``RowAverages``.
"""

from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor

from tzmmoe.errors import CheckpointError
from tzmmoe.learning.averages import Averages, RowAverages
from tzmmoe.learning.step import TrainStep
from tzmmoe.system.checkpoint import Checkpoint
from tzmmoe.system.tensorfiles import NamedTensors, Scattered

KEY = "averages"  # in state.json
PREFIX = "ema."
TABLE, WEIGHT, LOG_DECAY = "tables.", ".weight", ".log_decay"  # parts of the names of tensors
SETTING = "train_config.ema"


def tensors(step: TrainStep) -> dict[str, Tensor]:
    """The averages, for a checkpoint."""
    if step.averages is None:
        return {}
    named = {f"{PREFIX}model.{name}": own for name, own in step.averages.dense.items()}
    for module in step.tables.modules.values():
        rows = step.averages.rows.get(module.weight)
        for table in module.tables if rows else ():
            if table.trainable:
                path = f"{PREFIX}{TABLE}{table.name}"
                named[path + WEIGHT] = module.rows_of(table.name, rows.values)
                named[path + LOG_DECAY] = module.rows_of(table.name, rows.log_decays)
    return named


def to_json(step: TrainStep) -> dict[str, Any] | None:
    """The part of state.json that belongs to them."""
    if step.averages is None:
        return None
    return {"steps": step.averages.steps, "log_decay": step.averages.log_decay}


def plan(averages: Averages) -> str:
    """What they are used for, for the first lines of a run."""
    return (
        f"{SETTING}: evaluations and exports use averages of the weights over about the last "
        f"{1 / (1 - averages.decay):,.0f} steps (decay {averages.decay:g}), early on over a ninth "
        "of the steps so far"
    )


def are_in(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has averages."""
    return checkpoint.state.get(KEY) is not None


def source(checkpoint: Checkpoint) -> str:
    """The checkpoint, and its averages if it has them, for a line of the log."""
    averages = f", averaged ({SETTING})" if are_in(checkpoint) else ""
    return f"{checkpoint.path}{averages}"


def restore(checkpoint: Checkpoint, step: TrainStep) -> str:
    """Continue the averages of a checkpoint whose weights the model has. What is not averaged there
    starts from its weight. A line to log if the config or the checkpoint has no averages."""
    if step.averages is None:
        if not are_in(checkpoint):
            return ""
        return (
            f"{checkpoint.path} has averages of the weights, but {SETTING} is not set: the run "
            "goes on from the trained weights, and evaluates and saves those alone"
        )
    if not are_in(checkpoint):
        step.averages.begin()
        return f"{SETTING}: {checkpoint.path} has no averages; they start from its weights"
    step.averages.begin(*_progress(checkpoint))
    saved = checkpoint.shapes()
    checkpoint.read({name: own for name, own in tensors(step).items() if name in saved})
    return ""


def _progress(checkpoint: Checkpoint) -> tuple[int, float]:
    """The steps that are averaged, and the sum of their log(d)."""
    try:
        saved: Mapping[str, Any] = checkpoint.state[KEY]
        return int(saved["steps"]), float(saved["log_decay"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path}: state.json lacks {KEY}: {error}") from error


def read(checkpoint: Checkpoint, targets: NamedTensors, *, grown: Container[str] = ()) -> None:
    """As ``Checkpoint.read``; what has an average in the checkpoint gets that.

    Raises:
        CheckpointError: as there.
    """
    checkpoint.read(targets, grown=grown)
    if not are_in(checkpoint):
        return
    (_, log_decay), saved = _progress(checkpoint), checkpoint.shapes()
    averaged = {name: target for name, target in targets.items() if PREFIX + name in saved}
    tables = {name: averaged.pop(name) for name in list(averaged) if name.startswith(TABLE)}
    checkpoint.read({PREFIX + name: target for name, target in averaged.items()})
    for name, target in tables.items():
        if isinstance(target, Tensor):
            target = Scattered(tuple(target.shape), (((0, 0), target),))
        _read_table(checkpoint, name, target, log_decay, is_grown=name in grown)


@torch.no_grad()
def _read_table(
    checkpoint: Checkpoint, name: str, weights: Scattered, log_decay: float, *, is_grown: bool
) -> None:
    """Put the averages of a table in place of its weights. Rows that the checkpoint lacks stay as
    they are."""
    values = [(place, part.clone()) for place, part in weights.parts]
    since = {  # by their first row; the same for all parts of these rows
        (place[0],): torch.full((len(part),), log_decay, dtype=torch.float64, device=part.device)
        for place, part in weights.parts
    }
    wanted = {
        PREFIX + name: Scattered(weights.size, tuple(values)),
        PREFIX + name.removesuffix(WEIGHT) + LOG_DECAY: Scattered(
            weights.size[:1], tuple(since.items())
        ),
    }
    checkpoint.read(wanted, grown=wanted if is_grown else ())
    for (place, weight), (_, value) in zip(weights.parts, values, strict=True):
        weight.copy_(RowAverages(value, since[place[:1]]).at(weight, log_decay))
