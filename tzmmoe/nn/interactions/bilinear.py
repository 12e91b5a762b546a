"""Bilinear products of all pairs of features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, did_you_mean
from tzmmoe.nn.initializers import initialize
from tzmmoe.nn.keras import dense, start_as_keras
from tzmmoe.nn.mlp import StackedLinear
from tzmmoe.nn.shapes import check_count, check_equal, split_runs

TYPES = ("all", "each", "interaction")


class BiLinear(nn.Module):
    """For i < j the product of W e_i + b and e_j; then a linear map of all.

    W and b are shared by all pairs (``type`` "all"), by those with the same i ("each"), or the
    pair's own ("interaction", where fields may differ in width).
    Huang et al., "FiBiNET", RecSys 2019, eq. 7-9. ``use_plus`` takes the dot product in place of
    the element-wise one: Zhang et al., "FiBiNet++", CIKM 2023.
    """

    def __init__(
        self, widths: Sequence[int], *, type: str, use_plus: bool, num_output_units: int
    ) -> None:
        super().__init__()
        check_count(widths, 2, "a list of 2 or more fields")
        if type not in TYPES:
            words = f"is {type!r}; give one of {', '.join(TYPES)}"
            raise ConfigError.at("type", words + did_you_mean(type, TYPES))
        if num_output_units < 1:
            raise ConfigError.at("num_output_units", f"is {num_output_units}; give 1 or more")
        if type != "interaction":
            check_equal(widths, f"type {type!r} needs one width; give that, or type 'interaction'")
        self.widths, self.use_plus = list(widths), use_plus
        self.left = _left(type, self.widths)
        count = len(widths)
        later = sum(index * width for index, width in enumerate(widths))
        inner = count * (count - 1) // 2 if use_plus else later
        self.final = dense(inner, num_output_units, bias=True, initializer="glorot_uniform")
        self.out_features = num_output_units

    def forward(self, fields: Sequence[Tensor]) -> Tensor:
        """F fields, each (B, d) of its own width -> (B, ``num_output_units``)."""
        products = []
        for index, left_BD in enumerate(self.left(fields)):
            product_BD = left_BD * torch.cat(list(fields[index + 1 :]), dim=1)
            if self.use_plus:
                runs = split_runs(product_BD, self.widths[index + 1 :])
                products += [run.sum(dim=-1) for run in runs]
            else:
                products.append(product_BD)
        return self.final(torch.cat(products, dim=1))


def _left(type: str, widths: list[int]) -> nn.Module:
    """F fields -> for each i but the last, W e_i + b for every later field, side by side."""
    if type == "interaction":
        return _OfPairs(widths)
    if type == "all":
        return _OfFields(dense(widths[0], widths[0], bias=True, initializer="glorot_uniform"))
    linear = StackedLinear(widths[0], widths[0], len(widths) - 1, bias=True)
    start_as_keras(linear)
    return _OfFields(linear)


class _OfFields(nn.Module):
    """W depends at most on i. ``linear``: (B, F - 1, d) -> (B, F - 1, d)."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, fields: Sequence[Tensor]) -> list[Tensor]:
        left_BFd = self.linear(torch.stack(list(fields[:-1]), dim=1))
        return [x.repeat(1, left_BFd.shape[1] - i) for i, x in enumerate(left_BFd.unbind(1))]


class _OfPairs(nn.Module):
    """One W for each pair: those of one i are one linear map."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.linears = nn.ModuleList(
            nn.Linear(width, sum(widths[index + 1 :])) for index, width in enumerate(widths[:-1])
        )
        for index, linear in enumerate(self.linears):
            for kernel in linear.weight.detach().split(widths[index + 1 :]):
                initialize(kernel.mT, "glorot_uniform")
            nn.init.zeros_(linear.bias)

    def forward(self, fields: Sequence[Tensor]) -> list[Tensor]:
        return [linear(x) for linear, x in zip(self.linears, fields[:-1], strict=True)]
