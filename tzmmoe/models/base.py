"""What distinguishes one multi-task model from another: the part between inputs and towers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.registry import Registry

MODELS: Registry[type["Body"]] = Registry(ModelConfig, "model")


class Body(nn.Module, ABC):
    """Inputs by feature group -> one input for each tower.

    A body is made with ``in_features`` (group -> D), ``num_tasks``, and its fields in the schema
    but the towers.
    """

    groups: Sequence[str]  # the feature groups that it reads
    out_features: Sequence[int]  # of each tower's input

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """{group: (B, D)} -> T tensors (B, H)."""
