"""Highway network."""

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras import dense
from tzmmoe.nn.keras_mlp import easyrec_layer
from tzmmoe.nn.mlp import Dropout, check_dropout


class Highway(nn.Module):
    """t * act(W x + b) + (1 - t) * x with t = sigmoid(V x + c), ``num_layers`` times.

    c starts at ``init_gate_bias``: below 0, most of x is passed on at first. A linear map comes
    first where x has another width than ``emb_size``.
    Srivastava et al., "Highway Networks", 2015, eq. 3.
    """

    def __init__(
        self,
        in_features: int,
        *,
        emb_size: int | None,
        activation: str,
        dropout_rate: float,
        init_gate_bias: float,
        num_layers: int,
    ) -> None:
        super().__init__()
        for field, size in (("emb_size", emb_size), ("num_layers", num_layers)):
            if size is not None and size < 1:
                raise ConfigError.at(field, f"is {size}; give 1 or more")
        check_dropout("dropout_rate", dropout_rate)
        width = in_features if emb_size is None else emb_size
        glorot = {"bias": True, "initializer": "glorot_uniform"}
        self.project = dense(in_features, width, **glorot) if width != in_features else None
        self.gates = nn.ModuleList(dense(width, width, **glorot) for _ in range(num_layers))
        self.transforms = nn.ModuleList(dense(width, width, **glorot) for _ in range(num_layers))
        for gate in self.gates:
            nn.init.constant_(gate.bias, init_gate_bias)
        self.activation = easyrec_layer("activation", activation, width)  # of all layers, as Dice's
        self.dropout = Dropout(dropout_rate) if dropout_rate else None
        self.out_features = width

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, ``emb_size``), or (B, D) if it is not set."""
        x = x_BD if self.project is None else self.project(x_BD)
        for gate, transform in zip(self.gates, self.transforms, strict=True):
            share, y = torch.sigmoid(gate(x)), self.activation(transform(x))
            if self.dropout is not None:
                y = self.dropout(y)
            x = share * y + (1 - share) * x
        return x
