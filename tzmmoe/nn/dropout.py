"""Dropout that costs a CPU little."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 1 << 16


class Dropout(nn.Module):
    """Zeroes each number with chance ``p`` in training, and scales the others to keep the mean.

    Srivastava et al., JMLR 2014. On a CPU torch draws one number at a time, which takes four times
    as long as this: four numbers of 16 bits from one of 64. The chance is the nearest 65,536th.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        if not self.training:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64)
        lanes = words.random_(-(2**63), None).view(torch.int16)[: x.numel()].view(x.shape)
        kept = lanes >= dropped - LEVELS // 2
        return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
