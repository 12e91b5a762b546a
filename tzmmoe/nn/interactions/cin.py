"""Compressed interaction network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.initializers import initialize
from tzmmoe.nn.shapes import check_count, check_equal, stacked


class CIN(nn.Module):
    """h_k = relu(sum_ij W_kij h_i * x_j + b_k), layer by layer from h = x, each summed over d.

    Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender
    Systems", KDD 2018, eq. 6-8, with the bias and the relu that EasyRec adds.
    """

    def __init__(self, widths: Sequence[int], *, hidden_feature_sizes: Sequence[int]) -> None:
        super().__init__()
        check_count(widths, 1, "a list of fields of one width")
        check_equal(widths, "CIN needs fields of one width")
        sizes = list(hidden_feature_sizes)
        if not sizes or min(sizes) < 1:
            raise ConfigError.at("hidden_feature_sizes", f"is {sizes}; give sizes above 0")
        inner = [len(widths), *sizes[:-1]]
        self.kernels = nn.ParameterList(
            torch.empty(outer, before, len(widths))
            for outer, before in zip(sizes, inner, strict=True)
        )
        self.biases = nn.ParameterList(torch.zeros(size) for size in sizes)
        for kernel in self.kernels:
            initialize(kernel, "he_normal")
        self.out_features = sum(sizes)

    def forward(self, fields: Tensor | Sequence[Tensor]) -> Tensor:
        """F fields (B, d) or their stack (B, F, d) -> (B, sum of ``hidden_feature_sizes``)."""
        x_BFd = stacked(fields)
        h_BHd, pooled = x_BFd, []
        for kernel_KHF, bias_K in zip(self.kernels, self.biases, strict=True):
            pairs_BPd = (h_BHd.unsqueeze(2) * x_BFd.unsqueeze(1)).flatten(1, 2)
            sums_BKd = torch.matmul(kernel_KHF.flatten(1), pairs_BPd)
            h_BHd = torch.relu(sums_BKd + bias_K.unsqueeze(-1))
            pooled.append(h_BHd.sum(dim=-1))
        return torch.cat(pooled, dim=1)
