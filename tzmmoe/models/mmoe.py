"""Multi-gate mixture-of-experts."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError, Faults
from tzmmoe.models.base import MODELS, Body, Group, TowerInputs
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.mlp import MLP, Network

log = logging.getLogger(__name__)


@MODELS.register("mmoe")
class MMoE(Body):
    """For each task, its own mixture of shared experts.

    h_t = sum_e softmax(W_t x)_e f_e(x)
    Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD 2018, eq. 6-7.
    """

    def __init__(
        self,
        groups: Mapping[str, Group],
        num_tasks: int,
        *,
        expert_mlp: dict[str, Any] | None,
        gate_mlp: dict[str, Any] | None,
        num_expert: int,
    ) -> None:
        super().__init__()
        faults = Faults()
        if num_expert < 1:
            faults.add("num_expert", f"is {num_expert}; give 1 or more")
        self.group = only_group(groups)
        self.groups = {self.group: list(groups[self.group].widths)}
        width, experts = groups[self.group].width, max(num_expert, 1)
        with faults.under("expert_mlp"):
            if expert_mlp is None:
                raise ConfigError.at("", "is not set; give expert_mlp { hidden_units: [64] }")
            self.experts = MLP(width, copies=experts, **expert_mlp)
        with faults.under("gate_mlp"):
            self.gates = Gates(width, num_tasks=num_tasks, num_experts=experts, mlp=gate_mlp)
        faults.stop()
        self.out_features = [self.experts.out_features] * num_tasks

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        return TowerInputs(mixtures(inputs[self.group], self.gates, self.experts).unbind(1))


def mixtures(x_BD: Tensor, gates: Gates, experts: Network) -> Tensor:
    """(B, T, H)."""
    return torch.bmm(gates(x_BD).to(x_BD.dtype), experts(x_BD))


def only_group(groups: Mapping[str, Group]) -> str:
    """The only feature group, or the one named ``all``, or the first, with a line that says so."""
    names = list(groups)
    chosen = "all" if "all" in names else names[0]
    if len(names) > 1:
        unused = ", ".join(name for name in names if name != chosen)
        log.warning("mmoe reads the feature group %r; it does not read: %s", chosen, unused)
    return chosen
