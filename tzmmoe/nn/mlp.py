"""Multilayer perceptrons: one network, or several of equal shape computed together.

With k members (``nn/members.py``), the rows of a tensor are those of a batch, each k times in
succession: row b k + m is what member m makes of row b.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError
from tzmmoe.nn.activations import activation
from tzmmoe.nn.norms import BatchNorm, LayerNorm

# Size of one network's weight (H, D) from which E products beat a batched product, measured on two
# CPU cores: at 64 x 32 the batched one is twice as fast, at 256 x 512 it takes a quarter longer.
LARGE = 128 * 128


class StackedLinear(nn.Module):
    """E linear maps as one weight, initialized like E ``nn.Linear``. ``members`` share the weight;
    each has biases of its own."""

    def __init__(
        self, in_features: int, out_features: int, copies: int, bias: bool, members: int = 1
    ) -> None:
        super().__init__()
        self.members = members
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(copies, out_features, in_features))
        nn.init.uniform_(self.weight, -bound, bound)
        shape = (copies, out_features) if members == 1 else (members, copies, out_features)
        self.bias = nn.Parameter(torch.empty(shape)) if bias else None
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D), shared by all networks, or (B, E, D), one part for each -> (B, E, H). With
        members, (B k, E, H) of (B k, D) or (B k, E, D)."""
        if self.members > 1 and self.bias is not None:
            y_BkEH = self._mapped(x, None).unflatten(0, (-1, self.members))
            return (y_BkEH + self.bias).flatten(0, 1)
        return self._mapped(x, self.bias)

    def _mapped(self, x: Tensor, bias_EH: Tensor | None) -> Tensor:
        copies, width, _ = self.weight.shape
        if x.dim() == 2:
            bias = None if bias_EH is None else bias_EH.flatten()
            return F.linear(x, self.weight.flatten(0, 1), bias).unflatten(-1, (copies, width))
        if copies == 1:
            bias = None if bias_EH is None else bias_EH[0]
            return F.linear(x[:, 0], self.weight[0], bias).unsqueeze(1)
        if self.weight[0].numel() >= LARGE:
            return self._one_by_one(x, bias_EH)
        y = torch.bmm(x.transpose(0, 1), self.weight.transpose(1, 2)).transpose(0, 1)
        return y if bias_EH is None else y + bias_EH

    def _one_by_one(self, x_BED: Tensor, bias_EH: Tensor | None) -> Tensor:
        copies, width, _ = self.weight.shape
        biases = [None] * copies if bias_EH is None else bias_EH.unbind(0)
        parts = zip(x_BED.unbind(1), self.weight.unbind(0), biases, strict=True)
        return torch.cat([F.linear(*part) for part in parts], dim=1).unflatten(-1, (copies, width))


LEVELS = 1 << 16


class Dropout(nn.Module):
    """In training, zeroes numbers with probability ``p`` and scales the others to keep the mean.

    Srivastava et al., JMLR 2014. On a CPU, torch draws one number at a time; taking four numbers of
    16 bits from each of 64 is four times as fast. It rounds the probability to 1 / 65,536.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape."""
        if not self.training:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64)
        lanes = words.random_(-(2**63), None).view(torch.int16)[: x.numel()].view(x.shape)
        kept = lanes >= dropped - LEVELS // 2
        return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))


@dataclass(frozen=True)
class Layer:
    """One layer's settings: ``activation`` is text for ``activations.activation``, ``norm`` is
    "batch", "layer" or "" for none, ``dropout`` the probability to drop a unit. ``norm_last``: the
    norm follows the activation."""

    width: int
    activation: str
    norm: str
    dropout: float
    bias: bool
    norm_last: bool = False


class Perceptron(nn.Module):
    """Linear map, norm, activation and dropout of E = ``copies`` networks.

    Batch norm subtracts the mean, so a bias right before it would have no effect. ``members`` share
    the kernels; each has biases, a norm and an activation of its own, and a scale of its outputs.
    """

    def __init__(self, in_features: int, layer: Layer, *, copies: int, members: int = 1) -> None:
        super().__init__()
        parts = members * copies
        channels = parts * layer.width
        bias = layer.bias and (layer.norm != "batch" or layer.norm_last)
        self.linear = StackedLinear(in_features, layer.width, copies, bias, members)
        norms = {"batch": lambda: BatchNorm(channels), "layer": lambda: LayerNorm(channels, parts)}
        self.norm = norms[layer.norm]() if layer.norm else None
        self.activation = activation(layer.activation, channels, parts)
        self.scale = nn.Parameter(torch.ones(channels)) if members > 1 else None
        self.dropout = Dropout(layer.dropout) if layer.dropout else None
        self.norm_last = layer.norm_last

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) or (B, E, D) -> (B, E, H)."""
        y_BEH = self.linear(x)
        y = y_BEH.flatten(1)
        if self.scale is not None:
            y = y.reshape(-1, len(self.scale))  # (B, k E H)
        pair = (self.norm, self.activation)
        for part in reversed(pair) if self.norm_last else pair:
            if part is not None:
                y = part(y)
        if self.scale is not None:
            y = y * self.scale
        return (y if self.dropout is None else self.dropout(y)).view_as(y_BEH)


class Network(nn.Module):
    """A sequence of perceptrons, of E = ``copies`` networks that share their input."""

    def __init__(
        self, in_features: int, layers: Sequence[Layer], *, copies: int = 1, members: int = 1
    ) -> None:
        super().__init__()
        widths = [in_features, *(layer.width for layer in layers)]
        self.layers = nn.ModuleList(
            Perceptron(inner, layer, copies=copies, members=members)
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
    """A network whose layers differ only in width and dropout.

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
        members: int = 1,
    ) -> None:
        if not hidden_units or min(hidden_units) < 1:
            raise ConfigError.at("hidden_units", f"is {list(hidden_units)}; give widths above 0")
        if len(dropout_ratio) not in (0, 1, len(hidden_units)):
            raise ConfigError.at(
                "dropout_ratio",
                f"has {len(dropout_ratio)} values for {len(hidden_units)} layers; give one for "
                "all, or one for each",
            )
        check_dropout("dropout_ratio", dropout_ratio)
        if use_bn and use_ln:
            raise ConfigError.at("use_ln", "is set, and so is use_bn; keep one")
        ratios = list(dropout_ratio) or [0.0]
        ratios = ratios * len(hidden_units) if len(ratios) == 1 else ratios
        norm = "batch" if use_bn else "layer" if use_ln else ""
        layers = [
            Layer(width, activation, norm, ratio, bias)
            for width, ratio in zip(hidden_units, ratios, strict=True)
        ]
        super().__init__(in_features, layers, copies=copies, members=members)


def check_dropout(field: str, ratios: Sequence[float] | float) -> None:
    """Raise ConfigError unless the ratio, or each of them, is a probability below 1."""
    several = not isinstance(ratios, int | float)
    if any(not 0 <= ratio < 1 for ratio in (ratios if several else [ratios])):
        shown = list(ratios) if several else f"{ratios:g}"
        raise ConfigError.at(field, f"is {shown}; give 0 to below 1")
