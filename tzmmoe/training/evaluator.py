"""One pass over data without learning: metrics, losses, and predictions if wanted."""

import math
from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from tzmmoe.batch import Batch
from tzmmoe.models import RankModel
from tzmmoe.nn.regularizers import penalized, regularization
from tzmmoe.tasks import TaskSet
from tzmmoe.training.progress import shows_bars
from tzmmoe.world import World

Sink = Callable[[dict[str, Tensor], Batch], None]


@torch.no_grad()
def evaluate(
    model: RankModel,
    tasks: TaskSet,
    batches: Iterable[Batch],
    device: torch.device,
    *,
    most: int | None = None,
    bar_every: int = 10,
    sink: Sink | None = None,
    world: World | None = None,
) -> dict[str, float]:
    """Metrics and losses by key, ``regularization`` if weights are penalized, and the sum of all
    losses, ``val_loss``.

    A loss is weight * sum(w l) / sum(w) over all rows, so it does not depend on the batch size;
    NaN, and left out of the sum, when no row counts. The sum of none is NaN too. ``most``: at most
    this many batches. ``sink`` gets the outputs and the batch (on the device) of each. In the
    processes of a ``world`` results are those of all their rows.
    """
    tasks.reset()
    for metric in tasks.named_metrics().values():
        metric.to(device)
    sums: dict[str, list[Tensor]] = {}
    weights = {task.name: task.weight for task in tasks.tasks}
    was_training = model.training
    model.eval()
    for each in _shown(islice(batches, most), bar_every):
        batch = each.to(device)
        logits = model(batch.inputs)
        outputs = tasks.predict(logits)
        tasks.update(outputs, batch)
        for task, word, weighted, total in tasks.loss_sums(logits, batch):
            known = sums.setdefault(f"{word}_{task.name}", [0.0, 0.0, weights[task.name]])
            known[0] = known[0] + weighted.double()
            known[1] = known[1] + total.double()
        if sink:
            sink(outputs, batch)
    model.train(was_training)
    sums = {key: _added(known, world or World()) for key, known in sums.items()}
    results = tasks.compute()
    tasks.reset()  # some keep every row
    losses = {key: float(weight * part / whole) for key, (part, whole, weight) in sums.items()}
    counted = [losses[key] for key, (_, whole, _) in sums.items() if whole > 0]
    penalty = regularization(penalized(model))
    if penalty is not None:
        losses["regularization"] = float(penalty)
        counted += [float(penalty)] * bool(counted)
    return {**results, **losses, "val_loss": sum(counted) if counted else math.nan}


def _added(sums: list[Tensor], world: World) -> list[Tensor]:
    """Sum of losses and sum of weights over all processes; the tower's weight as it is."""
    part, whole, weight = sums
    return [*world.total(torch.stack([part, whole])), weight]


def _shown(batches: Iterable[Batch], every: int) -> tqdm:
    """The batches, counted by a bar on a terminal."""
    return tqdm(
        batches,
        desc="evaluating",
        unit="batch",
        miniters=every,
        disable=not shows_bars(),
        leave=False,
    )
