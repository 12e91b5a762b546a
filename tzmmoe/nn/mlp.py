"""Multilayer perceptrons: one network, or several of one shape side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.activations import activation
from tzmmoe.nn.dropout import Dropout
from tzmmoe.nn.linear import StackedLinear
from tzmmoe.nn.norms import BatchNorm, LayerNorm


@dataclass(frozen=True)
class Layer:
    """What one layer is: its width, the text of its ``activation`` (activations.py), its ``norm``:
    "batch", "layer" or "" for none, and the chance that it drops a unit."""

    width: int
    activation: str
    norm: str
    dropout: float
    bias: bool


class Perceptron(nn.Module):
    """Linear map, norm, activation, dropout, of E = ``copies`` networks side by side.

    Batch norm takes the mean off again, so a bias before it would have no effect.
    """

    def __init__(self, in_features: int, layer: Layer, *, copies: int) -> None:
        super().__init__()
        channels, bias = copies * layer.width, layer.bias and layer.norm != "batch"
        self.linear = StackedLinear(in_features, layer.width, copies, bias)
        norms = {"batch": lambda: BatchNorm(channels), "layer": lambda: LayerNorm(channels, copies)}
        self.norm = norms[layer.norm]() if layer.norm else None
        self.activation = activation(layer.activation, channels, copies)
        self.dropout = Dropout(layer.dropout) if layer.dropout else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) or (B, E, D) -> (B, E, H)."""
        y_BEH = self.linear(x)
        y = y_BEH.flatten(1)
        for part in (self.norm, self.activation, self.dropout):
            if part is not None:
                y = part(y)
        return y.view_as(y_BEH)


class Network(nn.Module):
    """Perceptrons one after another, of E = ``copies`` networks that share their input."""

    def __init__(self, in_features: int, layers: Sequence[Layer], *, copies: int = 1) -> None:
        super().__init__()
        widths = [in_features, *(layer.width for layer in layers)]
        self.layers = nn.ModuleList(
            Perceptron(inner, layer, copies=copies)
            for inner, layer in zip(widths[:-1], layers, strict=True)
        )
        self.out_features = widths[-1]

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, E, H)."""
        y = x_BD
        for layer in self.layers:
            y = layer(y)
        return y


class MLP(Network):
    """A network whose layers differ in width and dropout only.

    ``dropout_ratio``: empty, one value for all layers, or one for each.
    """

    def __init__(
        self,
        in_features: int,
        *,
        hidden_units: Sequence[int],
        dropout_ratio: Sequence[float],
        activation: str,
        use_bn: bool,
        use_ln: bool,
        bias: bool,
        copies: int = 1,
    ) -> None:
        if not hidden_units or min(hidden_units) < 1:
            raise ConfigError.at("hidden_units", f"is {list(hidden_units)}; give widths above 0")
        if len(dropout_ratio) not in (0, 1, len(hidden_units)):
            raise ConfigError.at(
                "dropout_ratio",
                f"has {len(dropout_ratio)} values for {len(hidden_units)} layers; give one for "
                "all, or one for each",
            )
        check_chances("dropout_ratio", dropout_ratio)
        if use_bn and use_ln:
            raise ConfigError.at("use_ln", "and use_bn are both set; keep one")
        ratios = list(dropout_ratio) or [0.0]
        ratios = ratios * len(hidden_units) if len(ratios) == 1 else ratios
        norm = "batch" if use_bn else "layer" if use_ln else ""
        layers = [
            Layer(width, activation, norm, ratio, bias)
            for width, ratio in zip(hidden_units, ratios, strict=True)
        ]
        super().__init__(in_features, layers, copies=copies)


def check_chances(field: str, ratios: Sequence[float]) -> None:
    """Raise ConfigError unless each is a chance to drop a unit."""
    if any(not 0 <= ratio < 1 for ratio in ratios):
        raise ConfigError.at(field, f"is {list(ratios)}; give 0 to below 1")
