"""The same model in every process, kept the same by exchanging gradients."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tzmmoe.models.rank import RankModel
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.system.world import World
from tzmmoe.tables.optimizers import merged
from tzmmoe.tables.table import Tables


class Replicas:
    """Gives every process the mean of all processes' gradients.

    The dense part, and tables whose gradient is dense, are left to torch's
    DistributedDataParallel, which exchanges them while the backward pass goes on. Of the other
    tables, each process sends the rows of its batch, and all make the same update.

    ``forward`` is the model to be called in training: with ``exchanges_dense`` it has the exchange
    of the dense part in its backward pass. Batch norm that is not ``synced`` goes by the rows of
    its own process, and all processes keep the running statistics of the first.
    """

    def __init__(
        self, model: RankModel, world: World, device: torch.device, *, exchanges_dense: bool
    ) -> None:
        self.world = world
        tables = {n: part for n, part in model.named_modules() if isinstance(part, Tables)}
        self._by_rows = [p.weight for p in tables.values() if p.sparse and p.trained_rows]
        self.forward = model
        if exchanges_dense:
            _leave_out(model, self._by_rows, own_statistics(model))
            devices = [device] if device.type == "cuda" else None
            self.forward = DistributedDataParallel(model, device_ids=devices)

    @torch.no_grad()
    def exchange(self) -> None:
        """Let the gradient of each table hold the rows of all processes."""
        means = self._of_all([weight.grad for weight in self._by_rows])
        for weight, grad in zip(self._by_rows, means, strict=True):
            weight.grad = grad

    def mean(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Of gradients, sparse and dense, that each process has for the same parameters."""
        found = list(grads)
        dense = [i for i, grad in enumerate(found) if grad is not None and not grad.is_sparse]
        sparse = [i for i, grad in enumerate(found) if grad is not None and grad.is_sparse]
        if dense:
            total = self.world.total(torch.cat([found[i].flatten() for i in dense]))
            parts = (total / self.world.size).split([found[i].numel() for i in dense])
            for i, part in zip(dense, parts, strict=True):
                found[i] = part.view_as(found[i])
        for i, grad in zip(sparse, self._of_all([found[i] for i in sparse]), strict=True):
            found[i] = grad
        return found

    def _of_all(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """The means of sparse gradients; ids may repeat in them."""
        if not grads:
            return []
        parts = [merged(grad, len(grad)) for grad in grads]
        sizes = self._sizes([len(rows) for rows, _ in parts])
        means = []
        for grad, (rows, values), counts in zip(grads, parts, sizes, strict=True):
            all_rows = self._joined(rows, counts).unsqueeze(0)
            all_values = self._joined(values, counts) / self.world.size
            means.append(
                torch.sparse_coo_tensor(all_rows, all_values, grad.shape, check_invariants=False)
            )
        return means

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


def own_statistics(model: nn.Module) -> list[Tensor]:
    """The running statistics of batch norms that each process has for itself."""
    norms = [part for part in model.modules() if isinstance(part, BatchNorm)]
    return [buffer for norm in norms if not norm.synced for buffer in norm.buffers()]


@torch.no_grad()
def align(model: nn.Module, world: World) -> None:
    """Let all processes have the running statistics of the first, as before each step."""
    for buffer in own_statistics(model):
        world.from_first(buffer)


def _leave_out(
    model: nn.Module, by_rows: Sequence[nn.Parameter], statistics: Sequence[Tensor]
) -> None:
    """Let DistributedDataParallel leave these tables alone, and all buffers but the statistics."""
    tables, kept = {id(weight) for weight in by_rows}, {id(buffer) for buffer in statistics}
    names = [name for name, weight in model.named_parameters() if id(weight) in tables]
    names += [name for name, buffer in model.named_buffers() if id(buffer) not in kept]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, names)
