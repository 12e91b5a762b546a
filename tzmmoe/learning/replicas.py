"""Keeps the model identical in all processes by exchanging gradients."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tzmmoe import private_torch
from tzmmoe.models.rank import RankModel
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.system.world import World
from tzmmoe.tables.optimizers import merged
from tzmmoe.tables.table import Tables


class Replicas:
    """Gives every process the mean of the gradients of all processes.

    torch's DistributedDataParallel exchanges those of the dense part, and of tables with a dense
    gradient, during the backward pass. Of the other tables, each process sends the rows of its
    batch, and all make the same update.

    ``forward`` is the model to call in training: with ``exchanges_dense``, its backward pass
    includes the exchange of the dense part. A batch norm that is not ``synced`` normalizes by the
    rows of its own process, and all processes take over the running statistics of the first.
    """

    def __init__(
        self, model: RankModel, world: World, device: torch.device, *, exchanges_dense: bool
    ) -> None:
        self.world = world
        tables = [part for part in model.modules() if isinstance(part, Tables)]
        self._by_rows = [part.weight for part in tables if part.sparse and part.trained_rows]
        self.forward = model
        if exchanges_dense:
            _leave_out(model, self._by_rows, own_statistics(model))
            devices = [device] if device.type == "cuda" else None
            self.forward = DistributedDataParallel(model, device_ids=devices)

    @torch.no_grad()
    def exchange(self) -> None:
        """Replace the sparse gradient of each table by the mean of all processes. Tables that no
        loss depends on, as behind a stop_gradient, have none, in any process."""
        learned = [weight for weight in self._by_rows if weight.grad is not None]
        means = self._sparse_means([weight.grad for weight in learned])
        for weight, grad in zip(learned, means, strict=True):
            weight.grad = grad

    def mean(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The means, over all processes, of sparse and dense gradients of the same parameters."""
        means = list(grads)
        dense = [i for i, grad in enumerate(grads) if grad is not None and not grad.is_sparse]
        sparse = [i for i, grad in enumerate(grads) if grad is not None and grad.is_sparse]
        if dense:
            total = self.world.total(torch.cat([grads[i].flatten() for i in dense]))
            parts = (total / self.world.size).split([grads[i].numel() for i in dense])
            for i, part in zip(dense, parts, strict=True):
                means[i] = part.view_as(grads[i])
        for i, mean in zip(sparse, self._sparse_means([grads[i] for i in sparse]), strict=True):
            means[i] = mean
        return means

    def _sparse_means(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """The means of sparse gradients, in which ids may repeat."""
        if not grads:
            return []
        parts = [merged(grad, len(grad)) for grad in grads]
        by_rank = self._gathered(torch.tensor([len(rows) for rows, _ in parts]))
        by_table = torch.stack(by_rank, dim=1).tolist()
        means = []
        for grad, (rows, values), counts in zip(grads, parts, by_table, strict=True):
            all_rows = self._joined(rows, counts).unsqueeze(0)
            all_values = self._joined(values, counts) / self.world.size
            means.append(
                torch.sparse_coo_tensor(all_rows, all_values, grad.shape, check_invariants=False)
            )
        return means

    def _joined(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes, concatenated: (sum of counts, ...)."""
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        blocks = zip(self._gathered(padded), counts, strict=True)
        return torch.cat([block[:count] for block, count in blocks])

    def _gathered(self, own: Tensor) -> list[Tensor]:
        """The tensors of all processes, which have the same shape."""
        tensors = [torch.empty_like(own) for _ in range(self.world.size)]
        dist.all_gather(tensors, own)
        return tensors


def own_statistics(model: nn.Module) -> list[Tensor]:
    """The running statistics of the batch norms that each process keeps for itself."""
    norms = [part for part in model.modules() if isinstance(part, BatchNorm)]
    return [buffer for norm in norms if not norm.synced for buffer in norm.buffers()]


@torch.no_grad()
def align(model: nn.Module, world: World) -> None:
    """Give all processes the running statistics of the first, as happens before each step."""
    for buffer in own_statistics(model):
        world.from_first(buffer)


def _leave_out(
    model: nn.Module, by_rows: Sequence[nn.Parameter], statistics: Sequence[Tensor]
) -> None:
    """Exclude these tables from DistributedDataParallel, and all buffers but the statistics."""
    tables, shared = {id(weight) for weight in by_rows}, {id(buffer) for buffer in statistics}
    names = [name for name, weight in model.named_parameters() if id(weight) in tables]
    names += [name for name, buffer in model.named_buffers() if id(buffer) not in shared]
    private_torch.leave_out(model, names)
