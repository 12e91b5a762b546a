"""The same model in every process, kept the same by exchanging gradients."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tzmmoe.models import RankModel
from tzmmoe.nn.embedding import Tables
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.training.rows import merged
from tzmmoe.world import World


class Replicas:
    """Gives every process the mean of all processes' gradients.

    The dense part, and tables whose gradient is dense, are left to torch's
    DistributedDataParallel, which exchanges them while the backward pass goes on. Of the other
    tables, each process sends the rows of its batch, and all make the same update.

    ``forward`` is the model to be called in training. Batch norm that is not ``synced`` goes by the
    rows of its own process, and all processes keep the running statistics of the first.
    """

    def __init__(self, model: RankModel, world: World, device: torch.device) -> None:
        self.world = world
        tables = {n: part for n, part in model.named_modules() if isinstance(part, Tables)}
        self._by_rows = [p.weight for p in tables.values() if p.sparse and p.trained_rows]
        norms = [part for part in model.modules() if isinstance(part, BatchNorm)]
        self._statistics = [b for norm in norms if not norm.synced for b in norm.buffers()]
        _leave_out(model, self._by_rows, self._statistics)
        devices = [device] if device.type == "cuda" else None
        self.forward = DistributedDataParallel(model, device_ids=devices)

    @torch.no_grad()
    def align(self) -> None:
        """Let all processes have the running statistics of the first, as before each step."""
        for buffer in self._statistics:
            dist.broadcast(buffer, 0)

    @torch.no_grad()
    def exchange(self) -> None:
        """Let the gradient of each table hold the rows of all processes."""
        if not self._by_rows:
            return
        parts = [merged(weight.grad) for weight in self._by_rows]
        sizes = self._sizes([len(rows) for rows, _ in parts])
        for weight, (rows, values), counts in zip(self._by_rows, parts, sizes, strict=True):
            all_rows = self._joined(rows, counts)
            all_values = self._joined(values, counts) / self.world.size
            weight.grad = torch.sparse_coo_tensor(
                all_rows.unsqueeze(0), all_values, weight.shape, check_invariants=False
            )

    def _sizes(self, own: Sequence[int]) -> list[list[int]]:
        """For each table, how many rows each process has."""
        found = [torch.zeros(len(own), dtype=torch.int64) for _ in range(self.world.size)]
        dist.all_gather(found, torch.tensor(own))
        return torch.stack(found, dim=1).tolist()

    def _joined(self, part: Tensor, counts: Sequence[int]) -> Tensor:
        """The parts of all processes, one after the other: (sum of counts, ...)."""
        padded = part.new_zeros(max(counts), *part.shape[1:])
        padded[: len(part)] = part
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([each[:count] for each, count in zip(found, counts, strict=True)])


def _leave_out(
    model: nn.Module, by_rows: Sequence[nn.Parameter], statistics: Sequence[Tensor]
) -> None:
    """Let DistributedDataParallel leave these tables alone, and all buffers but the statistics."""
    tables, kept = {id(weight) for weight in by_rows}, {id(buffer) for buffer in statistics}
    names = [name for name, weight in model.named_parameters() if id(weight) in tables]
    names += [name for name, buffer in model.named_buffers() if id(buffer) not in kept]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, names)
