"""One process, two and four: with the same global batches, the same losses, weights and metrics."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from e2e import tiny
from ranks import Ranks, ranks
from safetensors.torch import load_file
from torch import Tensor

from tzmmoe import checkpoint
from tzmmoe.training.progress import Progress
from tzmmoe.world import World

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
SPARSE, DENSE = "train_config__sparse_optimizer", "train_config__dense_optimizer"
OPTIMIZERS = {
    "sgd": "sgd_optimizer { lr: 0.5 }",
    "adagrad": "adagrad_optimizer { lr: 0.05 }",
    "rowwise": "rowwise_adagrad_optimizer { lr: 0.05 }",
    "adam": "adam_optimizer { lr: 0.01 }",
    "adadelta": "adadelta_optimizer { lr: 0.5 eps: 1e-3 }",
    "rmsprop": "rmsprop_optimizer { lr: 0.01 eps: 1e-3 }",
    "ftrl": "ftrl_optimizer { lr: 0.05 l1_reg: 0.001 }",
    "adamax": "adamax_optimizer { lr: 0.01 }",
    "nadam": "nadam_optimizer { lr: 0.01 }",
}
CLIPPED = "adam_optimizer { lr: 0.01 gradient_clipping: true max_gradient: 0.001 }"
OTHERS = {
    "clipped": {SPARSE: CLIPPED, "train_config__grad_clipping": 'clipping_type: "norm"'},
    "surgery": {"train_config__grad_process": "pcgrad"},
    "no accumulation": {"train_config__gradient_accumulation_steps": 1},
    "one batch norm for each process": {"train_config__sync_batch_norm": False},
    "the mean of each process": {"train_config__loss_mean": "LOCAL_BATCH"},
}


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    with ranks(2) as made:
        yield made


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    with ranks(4) as made:
        yield made


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One file of the same rows for each number of processes, such that their i-th batches are the
    same rows. Processes read equal stretches of their file."""
    table = tiny.rows(0, ROWS)
    made = {}
    for world in (1, 2, 4):
        made[world] = tmp_path_factory.mktemp(f"of{world}")
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
    """The losses of each step, and the results of the evaluation."""
    losses: list[dict[str, float]] = []
    original = Progress.note

    def note(self: Progress, step: int, own: Mapping[str, Tensor], *others) -> None:
        original(self, step, own, *others)
        parts = torch.stack([loss.detach() for loss in own.values()])
        losses.append((world.total(parts) / world.size).tolist())

    Progress.note = note
    try:
        size = {"data_config__batch_size": BATCH // world.size}
        results = tiny.pipeline(folder, run, **EXACT | size | changes).fit()
    finally:
        Progress.note = original
    return losses, results


def weights(run: Path) -> dict[str, Tensor]:
    found = {}
    for file in (checkpoint.newest(run) / "tensors").glob("*.safetensors"):
        found |= {n: t for n, t in load_file(file).items() if not n.startswith("random")}
    return found


def farthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one)


def compare(folders, tmp_path, several: Ranks, changes: Mapping) -> tuple[float, float, float]:
    """How far losses, results, and weights with their optimizers' state are at most."""
    alone = train(World(), folders[1], tmp_path / "1", changes)
    found = several.run(train, folders[several.size], tmp_path / "n", changes)
    assert all(each == found[0] for each in found), "the same to the last bit in all processes"
    losses, results = found[0]
    assert len(losses) == len(alone[0]) == STEPS
    apart = np.abs(np.array(losses) - np.array(alone[0])).max()
    results_apart = max(abs(results[key] - value) for key, value in alone[1].items())
    state = [weights(tmp_path / name) for name in ("1", "n")]
    return float(apart), results_apart, farthest(*state)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_processes_have_the_numbers_of_one(folders, tmp_path, two, name) -> None:
    """With every optimizer, its state included, after an epoch of 51 steps with a tail."""
    assert max(compare(folders, tmp_path, two, {SPARSE: OPTIMIZERS[name]})) < 1e-5


@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_four_processes_have_the_numbers_of_one(folders, tmp_path, four, name) -> None:
    assert max(compare(folders, tmp_path, four, {SPARSE: OPTIMIZERS[name]})) < 1e-5


@pytest.mark.parametrize("name", ["clipped", "no accumulation", "surgery"])
def test_clipping_accumulation_and_surgery_are_those_of_the_global_batch(
    folders, tmp_path, two, name
) -> None:
    assert max(compare(folders, tmp_path, two, OTHERS[name])) < 1e-5


@pytest.mark.parametrize("name", ["one batch norm for each process", "the mean of each process"])
def test_what_goes_by_each_process_is_another_model(folders, tmp_path, two, name) -> None:
    """The comparison above can tell: these differ by more, though little."""
    losses, results, _ = compare(folders, tmp_path, two, OTHERS[name])
    assert 1e-4 < losses < 1
    assert results < 0.2
