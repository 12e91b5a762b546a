"""A model of a user's whose body is a layer with Keras's arguments."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from tzmmoe.models import Body
from tzmmoe.models.base import Group, TowerInputs, TowerSpec, only_group
from tzmmoe.nn import MMoE


class Layered(Body):
    """``rules``: whether weights and outputs are penalized and weights constrained."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        units: int,
        rules: bool = True,
        lazy: bool = False,
    ) -> None:
        super().__init__()
        self.group = only_group(groups, "Layered")
        self.groups = {self.group: list(groups[self.group].widths)}
        settings = {
            "expert_kernel_regularizer": "l2",
            "activity_regularizer": {"class_name": "L2", "config": {"l2": 0.5}},
            "gate_kernel_constraint": "non_neg",
        }
        self.layer = MMoE(
            units,
            num_experts=3,
            num_tasks=len(towers),
            in_features=None if lazy else groups[self.group].width,
            **(settings if rules else {}),
        )
        self.out_features = [units] * len(towers)

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        return TowerInputs(self.layer(inputs[self.group]))
