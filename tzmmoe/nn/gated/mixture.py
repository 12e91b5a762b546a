"""EasyRec's mixture of experts, as one layer among others."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, within
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.keras import start_as_keras
from tzmmoe.nn.keras_mlp import KerasNetworks
from tzmmoe.nn.shapes import check_count, check_equal


class MMoE(nn.Module):
    """For each of T = ``num_task`` tasks its own mixture of E = ``num_expert`` experts.

    The experts are MLPs with the settings ``expert_mlp``, those of KerasMLP, on one input. Without
    them, E inputs are the experts' outputs and one more, the last, is that of the gates.
    Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD 2018, eq. 6-7.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        num_task: int,
        num_expert: int,
        expert_mlp: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        for field, count in (("num_task", num_task), ("num_expert", num_expert)):
            if count < 1:
                raise ConfigError.at(field, f"is {count}; give 1 or more")
        if expert_mlp is None:
            needs = f"{num_expert + 1} without expert_mlp: the outputs of num_expert experts, then"
            check_count(widths, num_expert + 1, f"{needs} the gates' input", most=num_expert + 1)
            self.experts = None
            self.out_features = check_equal(widths[:-1], "experts need one width")
        else:
            check_count(widths, 1, "one, which all experts of expert_mlp read", most=1)
            with within("expert_mlp"):
                self.experts = KerasNetworks(widths[0], copies=num_expert, **expert_mlp)
            self.out_features = self.experts.out_features
        self.gates = Gates(widths[-1], num_tasks=num_task, num_experts=num_expert)
        self.gates.by_task = False  # blocks after this one may lead a mixture to any task
        start_as_keras(self.gates)

    def forward(self, inputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """(B, D), or E outputs (B, H) and the gates' input (B, D) -> T mixtures (B, H)."""
        if self.experts is not None:
            x_BD = inputs if isinstance(inputs, Tensor) else inputs[0]
            outputs_BEH = self.experts(x_BD)
        else:
            *outputs, x_BD = inputs
            outputs_BEH = torch.stack(outputs, dim=1)
        return list(torch.bmm(self.gates(x_BD), outputs_BEH).unbind(1))
