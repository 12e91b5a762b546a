"""Shared layers, and a tower for each task."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tzmmoe.errors import ConfigError, Faults
from tzmmoe.models.base import MODELS, Body, Group, TowerInputs, TowerSpec
from tzmmoe.nn.mlp import MLP
from tzmmoe.tables.penalties import half_of_squares, penalize


@MODELS.register("shared_bottom")
class SharedBottom(Body):
    """h_t = f(x) for every task t. Caruana, "Multitask Learning", Machine Learning 1997."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        bottom_mlp: dict[str, Any] | None,
        num_members: int,
        l2_regularization: float,
    ) -> None:
        super().__init__()
        width, faults = self.read_one(groups, "shared_bottom").width, Faults()
        members = self.make_members(width, num_members, faults)
        with faults.under("bottom_mlp"):
            if bottom_mlp is None:
                words = "is not set; give bottom_mlp { hidden_units: [64] }, or simple_multi_task"
                raise ConfigError.at("", words)
            self.bottom = MLP(width, members=members, **bottom_mlp)
        with faults.under(""):
            self.kernel_penalty = half_of_squares(l2_regularization)
        faults.stop()
        penalize(self, self.kernel_penalty)
        self.out_features = [self.bottom.out_features] * len(towers)

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        hidden_BH = self.bottom(self.member_inputs(inputs[self.group])).squeeze(1)
        return TowerInputs([hidden_BH] * len(self.out_features))
