"""Adaptive information transfer between tasks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras import dense
from tzmmoe.nn.keras_mlp import optional_mlp
from tzmmoe.nn.shapes import check_count, check_equal


class AITMTower(nn.Module):
    """Attention of a task's own tower over itself and the towers that it depends on.

    With u_0 the first input and u_i = transfer(x_i) for the others: softmax(q(u_0) k_i(u_i) /
    sqrt(dim)) over i, times v_i(u_i). ``stop_gradient`` keeps the task from training the towers it
    depends on. ``transfer_mlp``, settings of KerasMLP, is shared by all of them.
    Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with
    Multi-task Learning in Targeted Display Advertising", KDD 2021, eq. 4-6.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        project_dim: int | None,
        transfer_mlp: Mapping[str, Any] | None,
        stop_gradient: bool,
    ) -> None:
        super().__init__()
        check_count(widths, 1, "the task's own tower, then those that it depends on")
        if project_dim is not None and project_dim < 1:
            raise ConfigError.at("project_dim", f"is {project_dim}; give 1 or more")
        if transfer_mlp is not None and len(widths) > 1:
            check_equal(widths[1:], "leaving out the first, transfer_mlp needs one width")
        own, *others = widths
        dim = own if project_dim is None else project_dim
        self.transfer = optional_mlp(others[0], transfer_mlp, "transfer_mlp") if others else None
        if self.transfer is not None:
            others = [self.transfer.out_features] * len(others)
        glorot = {"bias": True, "initializer": "glorot_uniform"}
        self.query = dense(own, dim, **glorot)  # of the first alone: no other row leaves the layer
        self.keys = nn.ModuleList(dense(width, dim, **glorot) for width in (own, *others))
        self.values = nn.ModuleList(dense(width, dim, **glorot) for width in (own, *others))
        self.stop_gradient, self.factor = stop_gradient, 1 / math.sqrt(dim)
        self.out_features = dim

    def forward(self, towers: Sequence[Tensor]) -> Tensor:
        """The own tower (B, D) and others, each of its width -> (B, ``project_dim`` or D)."""
        own, *others = towers
        if self.stop_gradient:
            others = [tower.detach() for tower in others]
        if self.transfer is not None:
            others = [self.transfer(tower) for tower in others]
        inputs = [own, *others]
        keys_BTd = torch.stack([k(u) for k, u in zip(self.keys, inputs, strict=True)], dim=1)
        values_BTd = torch.stack([v(u) for v, u in zip(self.values, inputs, strict=True)], dim=1)
        scores_BT = (keys_BTd * self.query(own).unsqueeze(1)).sum(dim=-1) * self.factor
        return torch.einsum("bt,btd->bd", scores_BT.softmax(dim=-1), values_BTd)
