"""Dot products of all pairs of features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tzmmoe.nn.shapes import check_count, check_equal, stacked


class DotInteraction(nn.Module):
    """<e_i, e_j> for i > j, row by row: (1, 0), (2, 0), (2, 1), ...

    ``self_interaction`` adds i = j. ``skip_gather`` leaves the F x F products in place, with 0 for
    those that are not asked for.
    Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
    Systems", 2019, section 2.1.3.
    """

    def __init__(self, widths: Sequence[int], *, self_interaction: bool, skip_gather: bool) -> None:
        super().__init__()
        least = 1 if self_interaction or skip_gather else 2
        check_count(widths, least, f"a list of {least} or more fields")
        check_equal(widths, "DotInteraction needs fields of one width")
        self.with_self, self.skip_gather = int(self_interaction), skip_gather
        count = len(widths)
        self.out_features = count * (count - 1) // 2 + count * self.with_self
        if skip_gather:
            self.out_features = count * count

    def forward(self, fields: Tensor | Sequence[Tensor]) -> Tensor:
        """F fields (B, d) or their stack (B, F, d) -> (B, F (F - 1) / 2), (B, F (F + 1) / 2) with
        ``self_interaction``, or (B, F F) with ``skip_gather``."""
        e_BFd = stacked(fields)
        products_BFF = torch.bmm(e_BFd, e_BFd.transpose(1, 2))
        if self.skip_gather:
            return products_BFF.tril(self.with_self - 1).flatten(1)
        rows = [
            row_BF[:, : index + self.with_self]
            for index, row_BF in enumerate(products_BFF.unbind(1))
        ]
        return torch.cat(rows, dim=1)
