"""Weights of another run: all of them, or those that a map of names joins."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tzmmoe.errors import CheckpointError, ConfigError, Faults, did_you_mean
from tzmmoe.models.rank import RankModel
from tzmmoe.run import averages
from tzmmoe.run.state import weights
from tzmmoe.system.checkpoint import Checkpoint
from tzmmoe.system.tensorfiles import Scattered


def take_all(checkpoint: Checkpoint, model: RankModel) -> str:
    """Load every tensor of the model; the line to log.

    Raises:
        MisfitError: the checkpoint lacks a tensor, or holds it in another shape.
    """
    own = weights(model)
    averages.read(checkpoint, own)
    return f"all {len(own)} tensors come from {averages.source(checkpoint)}"


def take_mapped(checkpoint: Checkpoint, model: RankModel, mapping: Mapping[str, str]) -> str:
    """Load the tensors that ``mapping`` names (tensor of the model -> tensor of the checkpoint);
    the line to log.

    Raises:
        CheckpointError: a tensor does not exist, or has another shape.
    """
    own = weights(model)
    unknown = [f"{name}{did_you_mean(name, own)}" for name in mapping if name not in own]
    if unknown:
        listed = "\n  ".join(unknown)
        raise CheckpointError(f"fine_tune_ckpt_param_map: not a tensor of the model:\n  {listed}")
    rounds: list[dict[str, Tensor | Scattered]] = [{}]
    for name, source in mapping.items():  # several tensors may share a source, but not in a round
        targets = next((targets for targets in rounds if source not in targets), None)
        if targets is None:
            rounds.append(targets := {})
        targets[source] = own[name]
    for targets in rounds:
        averages.read(checkpoint, targets)
    rest = ", ".join(name for name in own if name not in mapping)
    others = f"; these keep their initial values: {rest}" if rest else ""
    return f"{len(mapping)} of {len(own)} tensors come from {averages.source(checkpoint)}{others}"


def read_map(path: Path) -> dict[str, str]:
    """The mapping in a file of lines ``<tensor of the model><TAB><tensor of the checkpoint>``.

    Raises ConfigError with all faults of the file.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.at("train_config.fine_tune_ckpt_param_map", str(error)) from error
    faults, mapping = Faults(), {}
    for line in lines:
        pair = line.split()
        if len(pair) != 2:
            words = f"{line!r} must be a tensor of the model, a tab, and one of the checkpoint"
        elif pair[0] in mapping:
            words = f"{pair[0]} is listed twice; remove one"
        else:
            mapping[pair[0]] = pair[1]
            continue
        faults.add("train_config.fine_tune_ckpt_param_map", f"{path}: {words}")
    faults.stop()
    return mapping
