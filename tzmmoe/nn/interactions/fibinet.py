"""FiBiNet++: squeeze and excitation beside bilinear products."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import within
from tzmmoe.nn.gated.senet import SENet
from tzmmoe.nn.interactions.bilinear import BiLinear
from tzmmoe.nn.keras_mlp import optional_mlp


class FiBiNet(nn.Module):
    """mlp([SENet(fields), BiLinear(fields)]), both of the raw fields. ``senet``, ``bilinear`` and
    ``mlp`` are the settings of those; without the last two, those parts are left out.

    Zhang et al., "FiBiNet++: Reducing Model Size by Low Rank Feature Interaction Layer for CTR
    Prediction", CIKM 2023.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        senet: Mapping[str, Any],
        bilinear: Mapping[str, Any] | None,
        mlp: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        with within("senet"):
            self.senet = SENet(widths, **senet)
        with within("bilinear"):
            self.bilinear = BiLinear(widths, **bilinear) if bilinear is not None else None
        parts = [part for part in (self.senet, self.bilinear) if part is not None]
        width = sum(part.out_features for part in parts)
        self.mlp = optional_mlp(width, mlp, "mlp")
        self.out_features = width if self.mlp is None else self.mlp.out_features

    def forward(self, fields: Sequence[Tensor]) -> Tensor:
        """F fields, each (B, d) of its own width -> (B, H)."""
        y = self.senet(fields)
        if self.bilinear is not None:
            y = torch.cat([y, self.bilinear(fields)], dim=1)
        return y if self.mlp is None else self.mlp(y)
