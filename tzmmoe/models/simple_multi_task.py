"""Towers that share nothing but the features."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from tzmmoe.models.base import MODELS, Body, Group, TowerInputs, TowerSpec
from tzmmoe.tables.penalties import half_of_squares


@MODELS.register("simple_multi_task")
class SimpleMultiTask(Body):
    """Every tower reads the features; the embeddings are shared."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        l2_regularization: float,
    ) -> None:
        super().__init__()
        width = self.read_one(groups, "simple_multi_task").width
        self.kernel_penalty = half_of_squares(l2_regularization)
        self.out_features = [width] * len(towers)

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        return TowerInputs([inputs[self.group]] * len(self.out_features))
