"""Deep Bayesian multi-target learning: towers that read each other, here also with experts."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from tzmmoe.config.rulebook import Rules
from tzmmoe.errors import Faults
from tzmmoe.models.base import MODELS, Body, Group, TowerInputs, TowerSpec
from tzmmoe.models.mmoe import mixtures
from tzmmoe.models.parts import Part, part_of
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.mlp import MLP
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.tables.penalties import half_of_squares, penalize


def _notes(pipeline: Pipeline) -> Iterator[str]:
    config = pipeline.model_config.dbmtl
    if not config.HasField("expert_mlp"):
        for name in ("gate_mlp", "num_expert"):
            if config.HasField(name) and (name == "gate_mlp" or config.num_expert):
                yield f"model_config.dbmtl.{name} has no effect without expert_mlp"
    if not any(tower.relation_tower_names for tower in config.task_towers):
        yield "dbmtl: no tower has relation_tower_names, so no task learns from another's tower"


@MODELS.register("dbmtl")
class DBMTL(Body):
    """Shared layers f, then a mixture of experts f_e for each task, then towers that read others.

    h_t = sum_e softmax(W_t f(x))_e f_e(f(x)), or h_t = f(x) without experts. How towers read each
    other is theirs (``models/tower.py``). Wang et al., "Deep Bayesian Multi-Target Learning for
    Recommender Systems", 2019.
    """

    rules = Rules(notes=_notes)

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        bottom_mlp: dict[str, Any] | None,
        expert_mlp: dict[str, Any] | None,
        gate_mlp: dict[str, Any] | None,
        num_expert: int,
        num_members: int,
        l2_regularization: float,
    ) -> None:
        super().__init__()
        width, faults = self.read_one(groups, "dbmtl").width, Faults()
        members = self.make_members(width, num_members, faults)
        self.bottom = self.experts = self.gates = None
        if bottom_mlp is not None:
            with faults.under("bottom_mlp"):
                self.bottom = MLP(width, members=members, **bottom_mlp)
                width = self.bottom.out_features
        if expert_mlp is not None:
            if not num_expert:
                faults.add("num_expert", "is 0; give 1 or more, or remove expert_mlp")
            num_expert, num_tasks = max(num_expert, 1), len(towers)
            with faults.under("expert_mlp"):
                self.experts = MLP(width, copies=num_expert, members=members, **expert_mlp)
            with faults.under("gate_mlp"):
                sizes = {"num_tasks": num_tasks, "num_experts": num_expert, "members": members}
                self.gates = Gates(width, mlp=gate_mlp, **sizes)
        with faults.under(""):
            self.kernel_penalty = half_of_squares(l2_regularization)
        faults.stop()
        penalize(self, self.kernel_penalty)
        self.out_features = [self.experts.out_features if self.experts else width] * len(towers)

    def serving(self, kept: Sequence[int]) -> Body:
        if self.gates is None:
            return super().serving(kept)
        body = copy.deepcopy(self)
        body.gates.keep(kept)
        return body

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        x_BD = self.member_inputs(inputs[self.group])
        if self.bottom is not None:
            x_BD = self.bottom(x_BD).squeeze(1)
        if self.experts is None:
            return TowerInputs([x_BD] * len(self.out_features))
        return TowerInputs(mixtures(x_BD, self.gates, self.experts).unbind(1))

    def parts(self) -> list[Part]:
        parts, source = self.first_parts([f"group {self.group}"])
        if self.bottom is not None:
            parts.append(part_of("bottom", self.bottom, source))
            source = ["bottom"]
        if self.experts is not None:
            parts.append(part_of("experts", self.experts, source))
            parts.append(part_of("gates", self.gates, source))
        return parts

    def ends(self) -> Sequence[str]:
        return super().ends() if self.experts is None else ["experts", "gates"]
