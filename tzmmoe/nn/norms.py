"""Batch and layer norm of several networks at once."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over (B, C). A single row has no variance and uses the running statistics.

    ``affine``: with a scale and shift for each channel. ``synced``: over the rows of all processes,
    which must then call it together. Sums are float64, so that they hardly depend on which process
    has which rows. Gradients are those of torch's SyncBatchNorm, which needs GPUs.
    """

    synced = False

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        super().__init__(channels, affine=affine)

    def forward(self, x_BC: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x_BC)
        if self.synced:
            return self._over_processes(x_BC)
        return super().forward(x_BC) if len(x_BC) > 1 else self._by_running_statistics(x_BC)

    def _by_running_statistics(self, x_BC: Tensor) -> Tensor:
        return F.batch_norm(
            x_BC, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    def _over_processes(self, x_BC: Tensor) -> Tensor:
        x = x_BC.double()
        own_3C = torch.stack([x.sum(0), x.square().sum(0), torch.full_like(x.sum(0), len(x))])
        sum_C, square_C, count_C = _Total.apply(own_3C)
        count = float(count_C[0].detach())
        if count < 2:
            return self._by_running_statistics(x_BC)
        mean_C = sum_C / count
        var_C = (square_C / count - mean_C.square()).clamp(min=0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            unbiased_C = var_C * (count / (count - 1))
            for kept, new in ((self.running_mean, mean_C), (self.running_var, unbiased_C)):
                kept.lerp_(new.to(kept.dtype), self.momentum)
        spread_C = (var_C + self.eps).sqrt()
        if not self.affine:
            return ((x - mean_C) / spread_C).to(x_BC.dtype)
        return ((x - mean_C) * (self.weight / spread_C) + self.bias).to(x_BC.dtype)


class _Total(torch.autograd.Function):
    """The sum over all processes. The gradient is that of the sum of all processes' losses."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class LayerNorm(nn.Module):
    """Layer norm over each of E equal parts of (B, C), with a scale and shift for each part."""

    def __init__(self, channels: int, copies: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(copies, channels // copies))
        self.bias = nn.Parameter(torch.zeros(copies, channels // copies))

    def forward(self, x_BC: Tensor) -> Tensor:
        parts_BEH = x_BC.unflatten(-1, self.weight.shape)
        normed_BEH = F.layer_norm(parts_BEH, self.weight.shape[1:])
        return (normed_BEH * self.weight + self.bias).flatten(-2)
