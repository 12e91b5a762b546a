"""The same global batches for one process and for several, and what they make of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from e2e import tiny
from ranks import Ranks
from torch import Tensor

from tzmmoe.run.progress import Progress
from tzmmoe.system import checkpoint
from tzmmoe.system.world import World

BATCH, STEPS = 32, 51  # rows of a global batch; the last one is not full
ROWS = BATCH * STEPS - 5
EXACT = {
    "train_config__num_epochs": 1,
    "train_config__save_checkpoints_epochs": 1,
    "train_config__sync_batch_norm": True,
    "model_config__mmoe__expert_mlp__dropout_ratio": "[]",
    "model_config__mmoe__expert_mlp__use_bn": True,
    "data_config__shuffle": False,
}


def write_for(worlds: tuple[int, ...], root: Path) -> dict[int, Path]:
    """One file of the same rows for each number of processes, such that their i-th batches are the
    same rows. Processes read equal stretches of their file."""
    table = tiny.rows(0, ROWS)
    made = {}
    for world in worlds:
        made[world] = root / f"of{world}"
        tiny.write_all(made[world], files=())
        places = np.concatenate(stretches(world))
        tiny.write(table.take(pa.array(places)), made[world] / "train" / "0.parquet")
    return made


def stretches(world: int) -> list[np.ndarray]:
    """The numbers of the rows that each process reads, batch by batch of the global ones."""
    own = [[] for _ in range(world)]
    for first in range(0, ROWS, BATCH):
        step = np.arange(first, min(first + BATCH, ROWS))
        for rank, part in enumerate(np.array_split(step, world)):
            own[rank].append(part)
    lengths = [sum(map(len, parts)) for parts in own]
    assert max(lengths) - min(lengths) <= 1
    return [np.concatenate(parts) for parts in own]


def train(world: World, folder: Path, run: Path, changes: Mapping) -> tuple[list, dict]:
    """The losses of each step, and the results of the evaluation. A change to None leaves a setting
    as the config has it."""
    losses: list[dict[str, float]] = []
    original = Progress.note

    def note(self: Progress, step: int, own: Mapping[str, Tensor], *others) -> None:
        original(self, step, own, *others)
        parts = torch.stack([loss.detach() for loss in own.values()])
        losses.append((world.total(parts) / world.size).tolist())

    Progress.note = note
    try:
        size = {"data_config__batch_size": BATCH // world.size}
        settings = {path: v for path, v in (EXACT | size | changes).items() if v is not None}
        results = tiny.pipeline(folder, run, **settings).fit()
    finally:
        Progress.note = original
    return losses, results


def weights(run: Path) -> dict[str, Tensor]:
    """All of its newest checkpoint, whoever wrote which part, but the random states."""
    saved = checkpoint.open_checkpoint(checkpoint.newest(run))
    shapes = {n: size for n, size in saved.shapes().items() if not n.startswith("random")}
    found = {name: torch.empty(size) for name, size in shapes.items()}
    saved.read(found)
    return found


def farthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one)


def compare(folders, tmp_path, several: Ranks, changes: Mapping) -> tuple[float, float, float]:
    """How far losses, results, and weights with their optimizers' state are at most.

    Of 60 rows, one pair in which both have the same score but for rounding may change sides, so an
    AUC is only held to a few pairs here; tests of metrics hold those of processes to the rows.
    """
    alone = train(World(), folders[1], tmp_path / "1", changes)
    found = several.run(train, folders[several.size], tmp_path / "n", changes)
    assert all(each == found[0] for each in found), "the same to the last bit in all processes"
    losses, results = found[0]
    assert len(losses) == len(alone[0]) == STEPS
    apart = np.abs(np.array(losses) - np.array(alone[0])).max()
    differences = {key: abs(results[key] - value) for key, value in alone[1].items()}
    aucs = [difference for key, difference in differences.items() if key.startswith("auc")]
    assert max(aucs) < 0.05
    results_apart = max(apart for key, apart in differences.items() if not key.startswith("auc"))
    state = [weights(tmp_path / name) for name in ("1", "n")]
    return float(apart), results_apart, farthest(*state)
