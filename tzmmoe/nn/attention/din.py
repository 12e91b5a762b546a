"""Deep interest network: a sequence summed by how well its places match the target."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError, did_you_mean, within
from tzmmoe.nn.keras_mlp import KerasMLP
from tzmmoe.nn.shapes import check_count

NORMALIZERS = ("softmax", "sigmoid")
OUTSIDE = -(2.0**32) + 1  # score of a place after the end


class DIN(nn.Module):
    """sum_l a_l k_l, with a the softmax of MLP([q, k_l, q - k_l, q * k_l]), or the sigmoid of it
    over sqrt(d) (``attention_normalizer``); the target q follows with ``need_target_feature``.

    A target narrower than the keys is filled up with zeros; the sum is then cut to its width.
    ``attention_dnn`` holds settings of KerasMLP; its last layer has one unit, a bias, and neither
    norm nor activation.
    Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, eq. 3.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        attention_dnn: Mapping[str, Any],
        need_target_feature: bool,
        attention_normalizer: str,
    ) -> None:
        super().__init__()
        check_count(widths, 2, "a sequence with its lengths, and a target", most=2)
        keys_width, self.target_width = widths
        if self.target_width > keys_width:
            words = f"gets a target of width {self.target_width} and a sequence of {keys_width}"
            raise ConfigError.saying(f"{words}; the target may not be wider")
        if attention_normalizer not in NORMALIZERS:
            words = f"is {attention_normalizer!r}; give one of {', '.join(NORMALIZERS)}"
            words += did_you_mean(attention_normalizer, NORMALIZERS)
            raise ConfigError.at("attention_normalizer", words)
        units = list(attention_dnn["hidden_units"])
        if units and units[-1] != 1:
            words = f"is {units}; the last gives the score of a place, so it must be 1"
            raise ConfigError.at("attention_dnn.hidden_units", words)
        final = {"use_final_bn": False, "use_final_bias": True, "final_activation": "linear"}
        with within("attention_dnn"):
            self.mlp = KerasMLP(4 * keys_width, **{**attention_dnn, **final})
        self.is_softmax = attention_normalizer == "softmax"
        self.need_target_feature = need_target_feature
        self.padding, self.factor = keys_width - self.target_width, 1 / math.sqrt(keys_width)
        self.out_features = self.target_width + keys_width * need_target_feature

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Sequence (B, L, d), lengths (B,) and target (B, q) -> (B, q), or (B, q + d)."""
        keys_BLd, lengths_B, target_Bq = inputs
        query_Bd = F.pad(target_Bq, (0, self.padding))
        query_BLd = query_Bd.unsqueeze(1).expand_as(keys_BLd)
        pairs = [query_BLd, keys_BLd, query_BLd - keys_BLd, query_BLd * keys_BLd]
        scores_BL = self.mlp(torch.cat(pairs, dim=-1)).squeeze(-1)
        places_L = torch.arange(keys_BLd.shape[1], device=keys_BLd.device)
        outside = max(OUTSIDE, torch.finfo(scores_BL.dtype).min)
        scores_BL = scores_BL.masked_fill(places_L >= lengths_B.unsqueeze(1), outside)
        if self.is_softmax:
            weights_BL = scores_BL.softmax(dim=-1)
        else:
            weights_BL = torch.sigmoid(scores_BL * self.factor)
        y_Bq = torch.einsum("bl,bld->bd", weights_BL, keys_BLd)[:, : self.target_width]
        return torch.cat([y_Bq, query_Bd], dim=-1) if self.need_target_feature else y_Bq
