"""Squeeze and excitation of features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras import dense, layer_norm
from tzmmoe.nn.shapes import check_count, split_runs


class SENet(nn.Module):
    """Weights for each number of the features, from the features' maxima and means.

    z: max and mean of each of g groups of each feature; w = W2 relu(W1 z + b1) + b2;
    y = w * e, + e with ``use_skip_connection``; layer norm of y with ``use_output_layer_norm``.
    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, in the form of Zhang et al.,
    "FiBiNet++", CIKM 2023.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        reduction_ratio: int,
        num_squeeze_group: int,
        use_skip_connection: bool,
        use_output_layer_norm: bool,
    ) -> None:
        super().__init__()
        check_count(widths, 1, "a list of fields")
        if reduction_ratio < 1:
            raise ConfigError.at("reduction_ratio", f"is {reduction_ratio}; give 1 or more")
        if num_squeeze_group < 1:
            raise ConfigError.at("num_squeeze_group", f"is {num_squeeze_group}; give 1 or more")
        for index, width in enumerate(widths):
            if width % num_squeeze_group:
                words = f"is {num_squeeze_group}, but inputs[{index}] has width {width}; give a"
                words += " number that divides the width of every field"
                raise ConfigError.at("num_squeeze_group", words)
        self.widths, self.num_groups = list(widths), num_squeeze_group
        squeezed = 2 * num_squeeze_group * len(widths)
        reduced = max(1, squeezed // reduction_ratio)
        self.out_features = sum(widths)
        self.reduce = dense(squeezed, reduced, bias=True, initializer="he_normal")
        self.excite = dense(reduced, self.out_features, bias=True, initializer="glorot_normal")
        self.use_skip_connection = use_skip_connection
        self.norm = layer_norm(self.out_features) if use_output_layer_norm else None

    def forward(self, fields: Sequence[Tensor]) -> Tensor:
        """F fields, each (B, d) of its own width -> (B, sum of widths)."""
        e_BD = torch.cat(list(fields), dim=-1)
        weights_BD = self.excite(torch.relu(self.reduce(self._squeezed(e_BD))))
        y_BD = e_BD * weights_BD
        if self.use_skip_connection:
            y_BD = y_BD + e_BD
        return y_BD if self.norm is None else self.norm(y_BD)

    def _squeezed(self, e_BD: Tensor) -> Tensor:
        """(B, 2 g F): for each feature the maxima of its g groups, then their means."""
        parts = []
        for run_BFd in split_runs(e_BD, self.widths):
            groups_BFgd = run_BFd.unflatten(-1, (self.num_groups, -1))
            pair = torch.stack([groups_BFgd.amax(dim=-1), groups_BFgd.mean(dim=-1)], dim=2)
            parts.append(pair.flatten(1))
        return torch.cat(parts, dim=1)
