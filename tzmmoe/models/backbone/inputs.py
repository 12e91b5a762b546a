"""What a block reads: an input, trimmed; and feature groups as input layers give them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError, within
from tzmmoe.models.backbone.expressions.lambdas import parse_lambda, parse_slice
from tzmmoe.models.backbone.flow import Value
from tzmmoe.models.base import Group
from tzmmoe.nn.keras import EPSILON, MOMENTUM
from tzmmoe.nn.mlp import Dropout, check_dropout
from tzmmoe.nn.norms import BatchNorm

LAYER_NORM_EPSILON = 1e-12  # of EasyRec's input_layer, unlike its other layer norms
KINDS = ("feature_group_name", "block_name", "package_name", "use_package_input")


@dataclass(frozen=True)
class Trim:
    """An index, then a function."""

    index: Callable[[Value], Value] | None
    function: Callable[[Value], Value] | None

    @classmethod
    def of(cls, index: str | None, function: str | None, prefix: str = "input") -> "Trim":
        """Raises ConfigError for what cannot be read."""
        own_index = own_function = None
        if index:
            with within(f"{prefix}_slice"):
                own_index = parse_slice(index)
        if function:
            with within(f"{prefix}_fn"):
                own_function = parse_lambda(function)
        return cls(own_index, own_function)

    def __call__(self, value: Value) -> Value:
        value = value if self.index is None else self.index(value)
        return value if self.function is None else self.function(value)


def chosen(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Which kind of thing an input names, and its name. Raises ConfigError if it names none."""
    for kind in KINDS:
        if fields[kind] is not None:
            return kind, fields[kind] if kind != "use_package_input" else ""
    raise ConfigError.at("", f"names nothing; give one of {', '.join(KINDS)}")


class InputLayer(nn.Module):
    """A feature group as its concatenation (B, D), a list of its features (B, d), their stack
    (B, F, d), or [concatenation, list]; normalized, and in training with numbers or whole features
    dropped.

    Whole features are dropped for a batch, and the others divided by the probability to stay. Each
    feature then has a norm of its own in every form; EasyRec's evaluation would apply one to the
    concatenation that its training never learned.
    """

    def __init__(self, group: Group, settings: Mapping[str, Any]) -> None:
        super().__init__()
        _check(settings)
        self.widths = list(group.widths.values())
        self.form = _form(settings, group)
        self.drop = settings["feature_dropout_rate"]
        self.dropout = Dropout(settings["dropout_rate"]) if settings["dropout_rate"] else None
        self.norm = self.norms = None
        make = _batch_norm if settings["do_batch_norm"] else _layer_norm
        if settings["do_batch_norm"] or settings["do_layer_norm"]:
            if self.form in ("2d", "both") and not self.drop:
                self.norm = make(sum(self.widths))
            if self.form != "2d" or self.drop:
                self.norms = nn.ModuleList(make(width) for width in self.widths)

    def forward(self, x_BD: Tensor) -> Value:
        fields = list(x_BD.split(self.widths, dim=1))
        if self.norms is not None:
            fields = [norm(part) for norm, part in zip(self.norms, fields, strict=True)]
        if self.drop and self.training:
            kept_F = F.dropout(x_BD.new_ones(len(fields)), self.drop)
            fields = [part * kept_F[place] for place, part in enumerate(fields)]
        if self.form == "list":
            return [self._dropped(part) for part in fields]
        if self.form == "3d":
            return self._dropped(torch.stack(fields, dim=1))
        joined_BD = torch.cat(fields, dim=1) if self.drop else x_BD
        joined_BD = joined_BD if self.norm is None else self.norm(joined_BD)
        joined_BD = self._dropped(joined_BD)
        if self.form == "2d":
            return joined_BD
        return [joined_BD, [self._dropped(part) for part in fields]]

    def _dropped(self, x: Tensor) -> Tensor:
        return x if self.dropout is None else self.dropout(x)


def _form(settings: Mapping[str, Any], group: Group) -> str:
    if settings["only_output_feature_list"]:
        return "list"
    if settings["only_output_3d_tensor"]:
        if len(set(group.widths.values())) > 1:
            widths = ", ".join(f"{name} {width}" for name, width in group.widths.items())
            words = f"needs features of equal width, but they have {widths}"
            raise ConfigError.at("only_output_3d_tensor", words)
        return "3d"
    return "both" if settings["output_2d_tensor_and_feature_list"] else "2d"


def _check(settings: Mapping[str, Any]) -> None:
    if settings["do_batch_norm"] and settings["do_layer_norm"]:
        raise ConfigError.at("do_layer_norm", "is set, and so is do_batch_norm; keep one")
    for field in ("dropout_rate", "feature_dropout_rate"):
        check_dropout(field, settings[field])


def _batch_norm(width: int) -> nn.Module:
    norm = BatchNorm(width)
    norm.eps, norm.momentum = EPSILON, 1 - MOMENTUM
    return norm


def _layer_norm(width: int) -> nn.Module:
    return nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)
