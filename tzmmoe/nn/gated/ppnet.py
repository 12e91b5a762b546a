"""Parameter personalized network."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, did_you_mean, within
from tzmmoe.nn.activations import easyrec_activation
from tzmmoe.nn.keras import dense, start_as_keras
from tzmmoe.nn.keras_mlp import KerasMLP, set_dice_epsilon
from tzmmoe.nn.mlp import Layer, Perceptron, check_dropout
from tzmmoe.nn.shapes import check_count

MODES = ("eager", "lazy")
START = "he_uniform"


class GateNN(nn.Module):
    """2 sigmoid(W2 act(norm(W1 x))): factors of mean 1 where the input says nothing.

    ``hidden_dim`` is ``out_features`` if it is not set. With ``use_bn`` neither W has a bias.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden_dim: int | None,
        activation: str,
        use_bn: bool,
        dropout_rate: float,
    ) -> None:
        super().__init__()
        if hidden_dim is not None and hidden_dim < 1:
            raise ConfigError.at("hidden_dim", f"is {hidden_dim}; give 1 or more")
        check_dropout("dropout_rate", dropout_rate)
        width = out_features if hidden_dim is None else hidden_dim
        with within("activation"):
            name = easyrec_activation(activation)
        layer = Layer(width, name, "batch" if use_bn else "", dropout_rate, bias=not use_bn)
        self.hidden = Perceptron(in_features, layer, copies=1)
        start_as_keras(self.hidden, START)
        set_dice_epsilon(self.hidden)
        self.final = dense(width, out_features, bias=not use_bn, initializer=START)

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, H), each within 0 and 2."""
        return 2 * torch.sigmoid(self.final(self.hidden(x_BD).squeeze(1)))


class PPNet(nn.Module):
    """An MLP whose layers' inputs (``mode`` "eager") or outputs ("lazy") are scaled by gates.

    The gates' input is the second input, behind x itself, held constant, with ``full_gate_input``.
    ``mlp`` holds settings of KerasMLP, ``gate_params`` those of GateNN and ``output_dim``: the
    width of eager's first gate, which must be that of x; not set, it is.
    Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with
    Personalized Prior Information", KDD 2023, eq. 2-4 and 9.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        mlp: Mapping[str, Any],
        gate_params: Mapping[str, Any],
        mode: str,
        full_gate_input: bool,
    ) -> None:
        super().__init__()
        check_count(widths, 2, "two: x and the input of the gates", most=2)
        if mode not in MODES:
            words = f"is {mode!r}; give one of {', '.join(MODES)}"
            raise ConfigError.at("mode", words + did_you_mean(mode, MODES))
        settings = dict(gate_params)
        first = settings.pop("output_dim")
        if mode == "eager" and first is not None and first != widths[0]:
            words = f"is {first}, but the input that it scales has width {widths[0]}; give that"
            raise ConfigError.at("gate_params.output_dim", f"{words}, or leave it out")
        with within("mlp"):
            self.mlp = KerasMLP(widths[0], **mlp)
        inner = widths[1] + (widths[0] if full_gate_input else 0)
        units = [layer.linear.weight.shape[1] for layer in self.mlp.network.layers]
        gated = units if mode == "lazy" else [widths[0], *units[:-1]]
        with within("gate_params"):
            self.gates = nn.ModuleList(GateNN(inner, width, **settings) for width in gated)
        self.is_lazy, self.full_gate_input = mode == "lazy", full_gate_input
        self.out_features = self.mlp.out_features

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """x (B, D) and the gates' input (B, G) -> (B, H)."""
        x, gates_input = inputs
        if self.full_gate_input:
            gates_input = torch.cat([x.detach(), gates_input], dim=-1)
        for layer, gate in zip(self.mlp.network.layers, self.gates, strict=True):
            factors = gate(gates_input)
            x = layer(x).squeeze(1) * factors if self.is_lazy else layer(x * factors).squeeze(1)
        return x
