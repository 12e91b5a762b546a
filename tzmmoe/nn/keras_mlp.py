"""EasyRec's MLP, whose last layer has settings of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tzmmoe.errors import ConfigError, within
from tzmmoe.nn.activations import Dice, activation, easyrec_activation
from tzmmoe.nn.keras import start_as_keras
from tzmmoe.nn.mlp import Layer, Network, check_dropout

DICE_EPSILON = 1e-9  # of EasyRec's Dice


class KerasNetworks(Network):
    """E = ``copies`` networks side by side. ``use_bn_after_activation`` moves every batch norm
    behind its activation. ``dropout_ratio`` starts at the first layer; layers beyond it have none.

    A bias right before batch norm is left out: the norm subtracts it.
    """

    def __init__(
        self,
        in_features: int,
        *,
        hidden_units: Sequence[int],
        dropout_ratio: Sequence[float],
        activation: str,
        use_bn: bool,
        use_final_bn: bool,
        final_activation: str,
        use_bias: bool,
        initializer: str,
        use_bn_after_activation: bool,
        use_final_bias: bool,
        copies: int,
    ) -> None:
        _check(hidden_units, dropout_ratio)
        with within("activation"):
            inner = easyrec_activation(activation)
        with within("final_activation"):
            final = easyrec_activation(final_activation)
        count = len(hidden_units)
        ratios = [*dropout_ratio, *[0.0] * (count - len(dropout_ratio))]
        settings = [
            *[(inner, use_bn, use_bias)] * (count - 1),
            (final, use_final_bn, use_final_bias),
        ]
        layers = [
            Layer(width, name, "batch" if norm else "", ratio, bias, use_bn_after_activation)
            for width, ratio, (name, norm, bias) in zip(hidden_units, ratios, settings, strict=True)
        ]
        super().__init__(in_features, layers, copies=copies)
        with within("initializer"):
            start_as_keras(self, initializer)
        set_dice_epsilon(self)


class KerasMLP(nn.Module):
    """One network of ``KerasNetworks``, over the last axis."""

    def __init__(self, in_features: int, **settings: Any) -> None:
        super().__init__()
        self.network = KerasNetworks(in_features, copies=1, **settings)
        self.out_features = self.network.out_features

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., D) -> (B, ..., H). Batch norm takes all places of the axes between as rows."""
        y = self.network(x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], self.out_features)


def optional_mlp(in_features: int, mlp: Mapping[str, Any] | None, field: str) -> KerasMLP | None:
    """The MLP of the setting ``field``; None if that is not set."""
    if mlp is None:
        return None
    with within(field):
        return KerasMLP(in_features, **mlp)


def easyrec_layer(field: str, name: str, channels: int) -> nn.Module:
    """The activation of C = ``channels`` units by EasyRec's name."""
    with within(field):
        layer = activation(easyrec_activation(name), channels, 1)
    if layer is None:
        return nn.Identity()
    start_as_keras(layer)
    set_dice_epsilon(layer)
    return layer


def set_dice_epsilon(module: nn.Module) -> None:
    """Give the batch norm inside every Dice its own epsilon, as EasyRec does."""
    for part in module.modules():
        if isinstance(part, Dice):
            part.norm.eps = DICE_EPSILON


def _check(hidden_units: Sequence[int], dropout_ratio: Sequence[float]) -> None:
    if not hidden_units or min(hidden_units) < 1:
        raise ConfigError.at("hidden_units", f"is {list(hidden_units)}; give widths above 0")
    if len(dropout_ratio) > len(hidden_units):
        words = f"has {len(dropout_ratio)} values for {len(hidden_units)} layers"
        raise ConfigError.at("dropout_ratio", f"{words}; remove the surplus")
    check_dropout("dropout_ratio", dropout_ratio)
