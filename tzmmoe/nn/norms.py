"""Batch and layer norm for several networks side by side."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over (B, C). One row has no variance, so it uses the running statistics."""

    def forward(self, x_BC: Tensor) -> Tensor:
        if self.training and x_BC.shape[0] < 2:
            return F.batch_norm(
                x_BC, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x_BC)


class LayerNorm(nn.Module):
    """Layer norm over each of E equal parts of (B, C), each with a scale and shift of its own."""

    def __init__(self, channels: int, copies: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(copies, channels // copies))
        self.bias = nn.Parameter(torch.zeros(copies, channels // copies))

    def forward(self, x_BC: Tensor) -> Tensor:
        parts_BEH = x_BC.unflatten(-1, self.weight.shape)
        normed_BEH = F.layer_norm(parts_BEH, self.weight.shape[1:])
        return (normed_BEH * self.weight + self.bias).flatten(-2)
