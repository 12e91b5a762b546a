"""Multi-gate mixture-of-experts."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tzmmoe.errors import ConfigError, Faults, exactly
from tzmmoe.models.base import MODELS, Body, Group, TowerInputs, TowerSpec
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.mlp import MLP, Network
from tzmmoe.tables.penalties import half_of_squares, penalize


@MODELS.register("mmoe")
class MMoE(Body):
    """For each task, its own mixture of shared experts.

    h_t = sum_e softmax(W_t x / gate_temperature)_e f_e(x)
    Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD 2018, eq. 6-7.
    """

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        expert_mlp: dict[str, Any] | None,
        gate_mlp: dict[str, Any] | None,
        num_expert: int,
        num_members: int,
        l2_regularization: float,
        gate_temperature: float,
        gate_dropout: float,
        gate_entropy_weight: float,
        gate_balance_weight: float,
    ) -> None:
        super().__init__()
        faults = Faults()
        if num_expert < 1:
            faults.add("num_expert", f"is {num_expert}; give 1 or more")
        width, experts = self.read_one(groups, "mmoe").width, max(num_expert, 1)
        members = self.make_members(width, num_members, faults)
        with faults.under("expert_mlp"):
            if expert_mlp is None:
                raise ConfigError.at("", "is not set; give expert_mlp { hidden_units: [64] }")
            self.experts = MLP(width, copies=experts, members=members, **expert_mlp)
        _check_gates(gate_temperature, gate_dropout, experts, faults)
        _check_penalties(gate_entropy_weight, gate_balance_weight, experts, faults)
        with faults.under("gate_mlp"):
            sizes = {"num_tasks": len(towers), "num_experts": experts, "members": members}
            softened = {"temperature": gate_temperature, "dropout": gate_dropout}
            penalties = {"entropy": gate_entropy_weight, "balance": gate_balance_weight}
            self.gates = Gates(width, mlp=gate_mlp, **sizes, **softened, **penalties)
        with faults.under(""):
            self.kernel_penalty = half_of_squares(l2_regularization)
        faults.stop()
        penalize(self, self.kernel_penalty)
        self.out_features = [self.experts.out_features] * len(towers)

    def serving(self, kept: Sequence[int]) -> Body:
        body = copy.deepcopy(self)
        body.gates.keep(kept)
        return body

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        x_BD = self.member_inputs(inputs[self.group])
        return TowerInputs(mixtures(x_BD, self.gates, self.experts).unbind(1))


def _check_gates(temperature: float, dropout: float, num_experts: int, faults: Faults) -> None:
    if not 0 < temperature < math.inf:
        faults.add("gate_temperature", f"is {exactly(temperature)}; give a number above 0")
    if not 0 <= dropout < 1:
        faults.add("gate_dropout", f"is {exactly(dropout)}; give a number from 0 to below 1")
    elif dropout and num_experts == 1:
        words = f"is {exactly(dropout)}, and there is one expert; set it to 0, or give more experts"
        faults.add("gate_dropout", words)


def _check_penalties(entropy: float, balance: float, num_experts: int, faults: Faults) -> None:
    if not math.isfinite(entropy):
        faults.add("gate_entropy_weight", f"is {entropy}; give a finite number")
    if not 0 <= balance < math.inf:
        faults.add("gate_balance_weight", f"is {exactly(balance)}; give a finite number, 0 or more")
    for name, value in (("gate_entropy_weight", entropy), ("gate_balance_weight", balance)):
        if value and num_experts == 1:
            words = f"is {exactly(value)}, and there is one expert; set it to 0, or give more"
            faults.add(name, words)


def mixtures(x_BD: Tensor, gates: Gates, experts: Network) -> Tensor:
    """(B, T, H)."""
    return torch.bmm(gates(x_BD).to(x_BD.dtype), experts(x_BD))
