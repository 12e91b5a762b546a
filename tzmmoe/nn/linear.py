"""Linear maps of several networks of one shape side by side.

Their weights are stacked, (E, H, D) for E networks, so that experts or gates cost a few large
products instead of many small ones.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Weights (H, D) of one network from which on E products beat one batched product, measured on two
# CPU cores: at 64 x 32 batched is twice as fast, at 256 x 512 it takes a quarter longer.
LARGE = 128 * 128


class StackedLinear(nn.Module):
    """E linear maps side by side, initialised as E ``nn.Linear``."""

    def __init__(self, in_features: int, out_features: int, copies: int, bias: bool) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(copies, out_features, in_features))
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = nn.Parameter(torch.empty(copies, out_features)) if bias else None
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D), which all networks read, or (B, E, D), one part each -> (B, E, H)."""
        copies, width, _ = self.weight.shape
        if x.dim() == 2:
            bias = None if self.bias is None else self.bias.flatten()
            return F.linear(x, self.weight.flatten(0, 1), bias).unflatten(-1, (copies, width))
        if copies == 1:
            bias = None if self.bias is None else self.bias[0]
            return F.linear(x[:, 0], self.weight[0], bias).unsqueeze(1)
        if self.weight[0].numel() >= LARGE:
            return self._one_by_one(x)
        y = torch.bmm(x.transpose(0, 1), self.weight.transpose(1, 2)).transpose(0, 1)
        return y if self.bias is None else y + self.bias

    def _one_by_one(self, x_BED: Tensor) -> Tensor:
        copies, width, _ = self.weight.shape
        biases = [None] * copies if self.bias is None else self.bias.unbind(0)
        parts = zip(x_BED.unbind(1), self.weight.unbind(0), biases, strict=True)
        return torch.cat([F.linear(*part) for part in parts], dim=1).unflatten(-1, (copies, width))
