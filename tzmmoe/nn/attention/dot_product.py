"""Attention without projections."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, did_you_mean
from tzmmoe.nn.mlp import Dropout, check_dropout
from tzmmoe.nn.shapes import check_count

MODES = ("dot", "concat")
NEEDS = "a list of a query, a value and, if it differs, a key"


class Attention(nn.Module):
    """softmax(scores) v, with scores of query and key for T places and S places.

    ``score_mode`` "dot": q . k, times a learned scale with ``use_scale``, or over sqrt(d) with
    ``scale_by_dim``. "concat": c sum tanh(scale (q + k)), with c and, with ``use_scale``, scale
    learned from 1. ``dropout`` zeroes weights. ``use_causal_mask``: place i sees no place after it.
    Vaswani et al., NeurIPS 2017, eq. 1; Luong et al., EMNLP 2015.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        use_scale: bool,
        scale_by_dim: bool,
        score_mode: str,
        dropout: float,
        return_attention_scores: bool,
        use_causal_mask: bool,
    ) -> None:
        super().__init__()
        check_count(widths, 2, NEEDS, most=3)
        if widths[0] != widths[-1]:
            words = f"gets a query of width {widths[0]} and a key of width {widths[-1]}"
            raise ConfigError.saying(f"{words}; give them one width")
        if score_mode not in MODES:
            words = f"is {score_mode!r}; give one of {', '.join(MODES)}"
            raise ConfigError.at("score_mode", words + did_you_mean(score_mode, MODES))
        if scale_by_dim and (use_scale or score_mode == "concat"):
            other = "use_scale" if use_scale else "score_mode 'concat'"
            raise ConfigError.at("scale_by_dim", f"has no effect with {other}; keep one")
        check_dropout("dropout", dropout)
        self.scale = nn.Parameter(torch.ones(())) if use_scale else None
        self.factor = 1 / math.sqrt(widths[0]) if scale_by_dim else 1.0
        self.concat_weight = nn.Parameter(torch.ones(())) if score_mode == "concat" else None
        self.dropout = Dropout(dropout) if dropout else None
        self.use_causal_mask, self.returns_scores = use_causal_mask, return_attention_scores
        self.out_features = widths[1]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        """Query (B, T, d), value (B, S, v), key (B, S, d) -> (B, T, v), and the weights (B, T, S)
        with ``return_attention_scores``."""
        query, value, key = query_value_key(inputs)
        scores_BTS = self._scores(query, key)
        if self.use_causal_mask:
            scores_BTS = causal(scores_BTS)
        weights_BTS = scores_BTS.softmax(dim=-1)
        if self.dropout is not None:
            weights_BTS = self.dropout(weights_BTS)
        y_BTV = torch.bmm(weights_BTS, value)
        return (y_BTV, weights_BTS) if self.returns_scores else y_BTV

    def _scores(self, query_BTd: Tensor, key_BSd: Tensor) -> Tensor:
        scale = self.factor if self.scale is None else self.scale
        if self.concat_weight is None:
            return torch.bmm(query_BTd, key_BSd.transpose(1, 2)) * scale
        sums_BTSd = query_BTd.unsqueeze(2) + key_BSd.unsqueeze(1)
        return self.concat_weight * torch.tanh(sums_BTSd * scale).sum(dim=-1)


def query_value_key(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs in their order; the value is also the key if none is given.

    Raises ConfigError unless key and value have as many places.
    """
    query, value, key = inputs if len(inputs) == 3 else (*inputs, inputs[1])
    if value.shape[1] != key.shape[1]:
        words = f"gets a value of {value.shape[1]} places and a key of {key.shape[1]}"
        raise ConfigError.saying(f"{words}; give them as many")
    return query, value, key


def causal(scores: Tensor) -> Tensor:
    """Scores (..., T, S) without those of places after one's own."""
    later = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(later, torch.finfo(scores.dtype).min)
