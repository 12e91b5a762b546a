"""Feature groups with layers of their own, joined to one input."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import Faults, did_you_mean, few
from tzmmoe.models.base import Group
from tzmmoe.nn.mlp import MLP

log = logging.getLogger(__name__)


class GroupedInput(nn.Module):
    """[f_1(x_1), f_2(x_2), ...] of the groups x that ``networks`` name, in their order.

    ``networks``: the fields of each GroupNetwork of the schema, at ``path``. Raises ConfigError.
    """

    def __init__(
        self, groups: Mapping[str, Group], networks: Sequence[Mapping[str, Any]], path: str
    ) -> None:
        super().__init__()
        self.names: list[str] = []
        self.networks = nn.ModuleList()
        self.out_features, faults = 0, Faults()
        for index, network in enumerate(networks):
            name, mlp = network["input"] or "", network["mlp"]
            place = f"{path}[{index}]"
            if name in groups and name not in self.names:
                width = groups[name].width
                with faults.under(f"{place}.mlp"):
                    self.networks.append(MLP(width, **mlp) if mlp else nn.Identity())
                    self.out_features += self.networks[-1].out_features if mlp else width
                self.names.append(name)
            elif name in groups:
                faults.add(f"{place}.input", f"{name!r} is listed twice; remove one")
            else:
                what = f"{name!r} is not a feature group" if name else "is not set"
                hint = did_you_mean(name, groups)
                faults.add(f"{place}.input", f"{what}; give one of {few(list(groups))}{hint}")
        faults.stop()
        if unused := [name for name in groups if name not in self.names]:
            log.warning("the model does not read these feature groups: %s", few(unused))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, out_features)."""
        pairs = zip(self.networks, self.names, strict=True)
        return torch.cat([network(inputs[name]).flatten(1) for network, name in pairs], dim=1)
