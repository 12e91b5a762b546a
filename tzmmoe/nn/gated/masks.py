"""Instance-guided masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, exactly, within
from tzmmoe.nn.keras import dense, layer_norm
from tzmmoe.nn.keras_mlp import optional_mlp
from tzmmoe.nn.shapes import check_count


class MaskBlock(nn.Module):
    """y = x * (W2 relu(W1 m + b1) + b2), where m is the mask's input; then relu(LN(W3 y)) if
    ``output_size`` is set.

    W1 has ``aggregation_size`` units or ``reduction_factor`` times the width of m, and is of rank
    ``projection_dim`` if that is set. ``input_layer_norm`` is of the x that is masked alone.
    Wang et al., "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by
    Instance-Guided Mask", DLP-KDD 2021, eq. 5-8.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        reduction_factor: float | None,
        output_size: int | None,
        aggregation_size: int | None,
        input_layer_norm: bool,
        projection_dim: int | None,
    ) -> None:
        super().__init__()
        check_count(widths, 1, "x, or x and the input of the mask", most=2)
        width, mask_width = widths[0], widths[-1]
        hidden = _hidden(mask_width, reduction_factor, aggregation_size)
        for field, size in (("output_size", output_size), ("projection_dim", projection_dim)):
            if size is not None and size < 1:
                raise ConfigError.at(field, f"is {size}; give 1 or more")
        glorot = {"initializer": "glorot_uniform"}
        self.norm = layer_norm(width) if input_layer_norm else None
        self.project = None
        if projection_dim is not None:
            self.project = dense(mask_width, projection_dim, bias=False, **glorot)
        inner = mask_width if projection_dim is None else projection_dim
        self.aggregate = dense(inner, hidden, bias=True, initializer="he_uniform")
        self.weights = dense(hidden, width, bias=True, **glorot)
        self.output = self.output_norm = None
        if output_size is not None:
            self.output = dense(width, output_size, bias=False, **glorot)
            self.output_norm = layer_norm(output_size)
        self.out_features = width if output_size is None else output_size

    def forward(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """x (B, D), or x and the mask's input (B, M) -> (B, D), or (B, ``output_size``)."""
        x_BD, mask_BM = (inputs, inputs) if isinstance(inputs, Tensor) else (inputs[0], inputs[-1])
        if self.norm is not None:
            x_BD = self.norm(x_BD)
        if self.project is not None:
            mask_BM = self.project(mask_BM)
        masked_BD = x_BD * self.weights(torch.relu(self.aggregate(mask_BM)))
        if self.output is None:
            return masked_BD
        return torch.relu(self.output_norm(self.output(masked_BD)))


def _hidden(width: int, factor: float | None, size: int | None) -> int:
    if factor is not None and size is not None:
        raise ConfigError.at("aggregation_size", "is set, and so is reduction_factor; keep one")
    if factor is None and size is None:
        raise ConfigError.at("aggregation_size", "is not set; give it, or reduction_factor")
    hidden = size if factor is None else int(width * factor)
    if hidden < 1:
        field = "aggregation_size" if factor is None else "reduction_factor"
        value = str(size) if factor is None else exactly(factor)
        words = f"is {value}, which gives {hidden} units for an input of width {width}"
        raise ConfigError.at(field, f"{words}; give more")
    return hidden


class MaskNet(nn.Module):
    """Mask blocks side by side on x, or one after the other, then an MLP if ``mlp`` is set. Every
    block's mask comes from x, also in series.

    ``mask_blocks`` and ``mlp`` hold settings of MaskBlock and KerasMLP. ``input_layer_norm`` is of
    x, before all. Wang et al., DLP-KDD 2021, section 3.4.
    """

    def __init__(
        self,
        in_features: int,
        *,
        mask_blocks: Sequence[Mapping[str, Any]],
        use_parallel: bool,
        mlp: Mapping[str, Any] | None,
        input_layer_norm: bool,
    ) -> None:
        super().__init__()
        if not mask_blocks:
            raise ConfigError.at("mask_blocks", "is empty; give one or more")
        self.norm = layer_norm(in_features) if input_layer_norm else None
        self.blocks, width = nn.ModuleList(), in_features
        for index, settings in enumerate(mask_blocks):
            with within(f"mask_blocks[{index}]"):
                own = in_features if use_parallel else width
                self.blocks.append(MaskBlock([own, in_features], **settings))
            width = self.blocks[-1].out_features
        if use_parallel:
            width = sum(block.out_features for block in self.blocks)
        self.use_parallel = use_parallel
        self.mlp = optional_mlp(width, mlp, "mlp")
        self.out_features = width if self.mlp is None else self.mlp.out_features

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, H)."""
        x_BD = x_BD if self.norm is None else self.norm(x_BD)
        if self.use_parallel:
            y = torch.cat([block([x_BD, x_BD]) for block in self.blocks], dim=1)
        else:
            y = x_BD
            for block in self.blocks:
                y = block([y, x_BD])
        return y if self.mlp is None else self.mlp(y)
