"""Averages of the weights in a checkpoint, beside the weights.

``ema.<tensor>`` is the average of a tensor. Each row of a table has its average as of the step
before the row last changed, and ``ema.tables.<table>.log_decay`` tells that step (see
``RowAverages``): bringing rows up to date for a checkpoint would change the numbers that training
goes on with.
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
    """A line on their use and span, for the start of a run's log."""
    return (
        f"{SETTING}: evaluations and exports use averages of the weights over about the last "
        f"{1 / (1 - averages.decay):,.0f} steps (decay {averages.decay:g}), or early in a run "
        "over the last ninth of its steps"
    )


def are_in(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has averages."""
    return checkpoint.state.get(KEY) is not None


def source(checkpoint: Checkpoint) -> str:
    """The checkpoint's path for a log line, which says whether averages were taken from it."""
    averages = f", averaged ({SETTING})" if are_in(checkpoint) else ""
    return f"{checkpoint.path}{averages}"


def restore(checkpoint: Checkpoint, step: TrainStep) -> str:
    """Continue the averages of a checkpoint whose weights the model has. What is not averaged there
    starts from its weight. Returns a line to log if only one of the checkpoint and the config has
    averages, otherwise an empty one.

    Raises:
        CheckpointError: the averages cannot be read.
    """
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
    """The number of averaged steps, and the sum of their log(d). Raises CheckpointError."""
    try:
        saved: Mapping[str, Any] = checkpoint.state[KEY]
        return int(saved["steps"]), float(saved["log_decay"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: state.json lacks {KEY}: {error}; use another checkpoint"
        ) from error


def read(checkpoint: Checkpoint, targets: NamedTensors, *, grown: Container[str] = ()) -> None:
    """As ``Checkpoint.read``, but targets get their averages where the checkpoint has them.

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
