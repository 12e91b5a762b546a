"""Attention of several heads."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.attention.dot_product import NEEDS, causal, query_value_key
from tzmmoe.nn.initializers import initialize
from tzmmoe.nn.mlp import Dropout, check_dropout
from tzmmoe.nn.shapes import check_count

GLOROT = "glorot_uniform"


class MultiHeadAttention(nn.Module):
    """W_o [softmax(q_h k_h / sqrt(``key_dim``)) v_h] over N = ``num_heads`` heads, each with its
    own projections of query, key and value, from T and S places.

    The output is as wide as the query, or ``output_shape``. ``dropout`` zeroes weights.
    ``use_causal_mask``: place i sees no place after it.
    Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.2.2.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        num_heads: int,
        key_dim: int,
        value_dim: int | None,
        dropout: float,
        use_bias: bool,
        return_attention_scores: bool,
        use_causal_mask: bool,
        output_shape: int | None,
        attention_axes: Sequence[int],
    ) -> None:
        super().__init__()
        check_count(widths, 2, NEEDS, most=3)
        sizes = {
            "num_heads": num_heads,
            "key_dim": key_dim,
            "value_dim": value_dim,
            "output_shape": output_shape,
        }
        for field, size in sizes.items():
            if size is not None and size < 1:
                raise ConfigError.at(field, f"is {size}; give 1 or more")
        if list(attention_axes) not in ([], [1]):
            words = f"is {list(attention_axes)}; leave it out: inputs (B, T, D) have one such axis"
            raise ConfigError.at("attention_axes", words)
        check_dropout("dropout", dropout)
        value_dim = key_dim if value_dim is None else value_dim
        self.out_features = widths[0] if output_shape is None else output_shape
        self.num_heads, self.factor = num_heads, 1 / math.sqrt(key_dim)
        self.query = _projection(widths[0], num_heads, key_dim, use_bias)
        self.key = _projection(widths[-1], num_heads, key_dim, use_bias)
        self.value = _projection(widths[1], num_heads, value_dim, use_bias)
        self.output = nn.Linear(num_heads * value_dim, self.out_features, bias=use_bias)
        initialize(self.output.weight.mT.unflatten(0, (num_heads, value_dim)), GLOROT)
        if use_bias:
            nn.init.zeros_(self.output.bias)
        self.dropout = Dropout(dropout) if dropout else None
        self.use_causal_mask, self.returns_scores = use_causal_mask, return_attention_scores

    def forward(self, inputs: Sequence[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        """Query (B, T, D), value (B, S, V), key (B, S, K) -> (B, T, H), and the weights
        (B, N, T, S), before dropout, with ``return_attention_scores``."""
        query, value, key = query_value_key(inputs)
        query_BNTd, key_BNSd = self._heads(self.query(query)), self._heads(self.key(key))
        scores_BNTS = torch.matmul(query_BNTd * self.factor, key_BNSd.transpose(2, 3))
        if self.use_causal_mask:
            scores_BNTS = causal(scores_BNTS)
        weights_BNTS = scores_BNTS.softmax(dim=-1)
        kept = weights_BNTS if self.dropout is None else self.dropout(weights_BNTS)
        heads_BNTv = torch.matmul(kept, self._heads(self.value(value)))
        y_BTH = self.output(heads_BNTv.transpose(1, 2).flatten(2))
        return (y_BTH, weights_BNTS) if self.returns_scores else y_BTH

    def _heads(self, x_BTD: Tensor) -> Tensor:
        """(B, N, T, d)."""
        return x_BTD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _projection(in_features: int, num_heads: int, width: int, bias: bool) -> nn.Linear:
    """Of all heads. Keras's kernel (inputs, heads, width) sets the bounds of its first values."""
    linear = nn.Linear(in_features, num_heads * width, bias=bias)
    initialize(linear.weight.mT.unflatten(1, (num_heads, width)), GLOROT)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
