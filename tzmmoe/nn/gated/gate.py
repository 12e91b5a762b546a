"""A weighted sum of inputs, with the weights as one of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_mlp import optional_mlp
from tzmmoe.nn.shapes import check_count, check_equal


class Gate(nn.Module):
    """sum_j w_j x_j over N inputs, w being the input at ``weight_index``; then an MLP if ``mlp``,
    settings of KerasMLP, is set."""

    def __init__(
        self, widths: Sequence[int], *, weight_index: int, mlp: Mapping[str, Any] | None
    ) -> None:
        super().__init__()
        check_count(widths, 2, "the weights and one or more inputs to be summed")
        if not 0 <= weight_index < len(widths):
            words = f"is {weight_index}, but there are {len(widths)} inputs"
            raise ConfigError.at("weight_index", f"{words}; give 0 to {len(widths) - 1}")
        others = [width for index, width in enumerate(widths) if index != weight_index]
        if widths[weight_index] != len(others):
            words = f"inputs[{weight_index}] holds {widths[weight_index]} weights in each row for"
            raise ConfigError.saying(f"{words} {len(others)} other inputs; give one for each")
        width = check_equal(others, "leaving out the weights, all need one width")
        self.weight_index = weight_index
        self.mlp = optional_mlp(width, mlp, "mlp")
        self.out_features = width if self.mlp is None else self.mlp.out_features

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Weights (B, N) and N inputs (B, D) -> (B, D), or the width of the MLP."""
        others = list(inputs)
        weights_BN = others.pop(self.weight_index)
        y_BD = torch.einsum("bn,bnd->bd", weights_BN, torch.stack(others, dim=1))
        return y_BD if self.mlp is None else self.mlp(y_BD)
