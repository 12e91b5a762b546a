"""Progressive layered extraction: experts of each task beside shared ones, level by level."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.config.rulebook import Rules
from tzmmoe.errors import Faults
from tzmmoe.models.base import MODELS, Body, Group, TowerInputs, TowerSpec
from tzmmoe.models.parts import Part, part_of
from tzmmoe.nn.by_task import keep_tasks
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.mlp import MLP
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.tables.penalties import half_of_squares, penalize


def _notes(pipeline: Pipeline) -> Iterator[str]:
    for index, network in enumerate(pipeline.model_config.ple.extraction_networks):
        if network.HasField("share_expert_net") and not network.share_num:
            path = f"model_config.ple.extraction_networks[{index}].share_expert_net"
            yield f"{path} has no effect with share_num: 0"


@MODELS.register("ple")
class PLE(Body):
    """Levels of customized gate control, each fed by the one below.

    At each level task t mixes its own experts and the shared ones, by a gate that reads the task's
    input; the shared stream mixes the experts of all tasks and the shared ones. The first level
    reads x everywhere; later ones read what the tasks and the shared stream became below.
    Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020, eq. 1-8.

    A shared stream that no later level reads, as that of the last one, is not made.
    """

    rules = Rules(notes=_notes)

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        extraction_networks: Sequence[Mapping[str, Any]],
        num_members: int,
        l2_regularization: float,
    ) -> None:
        super().__init__()
        width, faults = self.read_one(groups, "ple").width, Faults()
        if not extraction_networks:
            words = "is empty; give extraction_networks { ... } for each level"
            faults.add("extraction_networks", words)
        members = self.make_members(width, num_members, faults)
        levels = []
        for index, network in enumerate(extraction_networks):
            later = [bool(each["share_num"]) for each in extraction_networks[index + 1 :]]
            with faults.under(f"extraction_networks[{index}]"):
                _check(network)
                levels.append(Level(width, len(towers), network, later, members))
            width = _width(network["task_expert_net"])
        with faults.under(""):
            self.kernel_penalty = half_of_squares(l2_regularization)
        faults.stop()
        self.levels = nn.ModuleList(levels)
        penalize(self, self.kernel_penalty)
        self.out_features = [width] * len(towers)

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        tasks = shared = self.member_inputs(inputs[self.group])
        for level in self.levels:
            tasks, shared = level(tasks, shared)
        return TowerInputs(tasks.unbind(1))

    def serving(self, kept: Sequence[int]) -> Body:
        """Without the other tasks' experts and gates in the last level. Those of the levels below
        stay, since they reach all tasks through shared experts."""
        body = copy.deepcopy(self)
        body.levels[-1].keep(kept)
        return body

    def parts(self) -> list[Part]:
        gives = f"{len(self.out_features)} x (B, {self.out_features[0]})"
        parts, source = self.first_parts([f"group {self.group}"])
        return [*parts, replace(part_of("levels", self.levels, source), gives=gives)]


class Level(nn.Module):
    """One extraction network: E experts for each of T tasks, and S shared ones.

    ``later``: whether each later level has shared experts. If any does, this one has a shared
    stream, by which a task's experts reach all tasks; otherwise they are its own (``by_task``). Its
    gate stays its own one level longer: its mixture first passes the experts of the next level.
    """

    def __init__(
        self,
        in_features: int,
        num_tasks: int,
        network: Mapping[str, Any],
        later: Sequence[bool],
        members: int = 1,
    ) -> None:
        super().__init__()
        shares = any(later)
        self.num_tasks, self.own = num_tasks, network["expert_num_per_task"]
        self.kept: Sequence[int] | None = None  # places among the tasks of the level below
        num_shared, num_experts = network["share_num"], num_tasks * self.own
        faults = Faults()
        with faults.under("task_expert_net"):
            nets = network["task_expert_net"]
            self.task_experts = MLP(in_features, copies=num_experts, members=members, **nets)
            self.task_experts.by_task = num_tasks > 1 and not shares
        self.shared_experts = self.shared_gate = None
        if num_shared:
            with faults.under("share_expert_net"):
                nets = network["share_expert_net"]
                self.shared_experts = MLP(in_features, copies=num_shared, members=members, **nets)
        faults.stop()
        gated = self.own + num_shared
        self.task_gates = Gates(
            in_features, num_tasks=num_tasks, num_experts=gated, members=members
        )
        self.task_gates.by_task = num_tasks > 1 and not any(later[1:])
        if shares:
            total = num_experts + num_shared
            self.shared_gate = Gates(in_features, num_tasks=1, num_experts=total, members=members)

    def keep(self, kept: Sequence[int]) -> None:
        """Keep the experts and gates of the tasks at the places ``kept``, in a level without a
        shared gate."""
        members = self.task_gates.final.members
        keep_tasks(self.task_experts, self.num_tasks, kept, members)
        self.task_gates.keep(kept)
        self.kept, self.num_tasks = list(kept), len(kept)

    def forward(self, tasks: Tensor, shared_BD: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """tasks: (B, D) for all of them, or (B, T, D) -> (B, T, H); the shared stream -> (B, H)."""
        if self.kept is not None and tasks.dim() == 3:
            tasks = tasks[:, self.kept]
        inputs = tasks if tasks.dim() == 2 else tasks.repeat_interleave(self.own, dim=1)
        own_BXH = self.task_experts(inputs)  # X = T E, those of task 0 first
        own_BTEH = own_BXH.unflatten(1, (self.num_tasks, self.own))
        gates_BTG = self.task_gates(tasks)
        mixed_BTH = torch.einsum("bte,bteh->bth", gates_BTG[..., : self.own], own_BTEH)
        experts = [own_BXH]
        if self.shared_experts is not None:
            shared_BSH = self.shared_experts(shared_BD)
            mixed_BTH = mixed_BTH + gates_BTG[..., self.own :] @ shared_BSH
            experts.append(shared_BSH)
        if self.shared_gate is None:
            return mixed_BTH, None
        stream_B1H = self.shared_gate(shared_BD) @ torch.cat(experts, dim=1)
        return mixed_BTH, stream_B1H.squeeze(1)


def _width(net: Mapping[str, Any] | None) -> int:
    """Of the output of experts; 1 where that is faulty, so that later levels show their faults."""
    units = net["hidden_units"] if net else ()
    return units[-1] if units and units[-1] else 1


def _check(network: Mapping[str, Any]) -> None:
    """Raise ConfigError where the parts of a level lack something or do not fit."""
    faults = Faults()
    number, share_num = network["expert_num_per_task"], network["share_num"]
    of_task, of_all = network["task_expert_net"], network["share_expert_net"]
    if not number:
        what = "is not set" if number is None else "is 0"
        faults.add("expert_num_per_task", f"{what}; give 1 or more")
    if of_task is None:
        words = "is not set; give task_expert_net { hidden_units: [64] }"
        faults.add("task_expert_net", words)
    if share_num and of_all is None:
        words = f"is not set; give the layers of the {share_num} shared experts, or share_num: 0"
        faults.add("share_expert_net", words)
    elif share_num and of_task and _width(of_task) != _width(of_all):
        words = f"ends in {_width(of_all)} units, but task_expert_net in {_width(of_task)}"
        faults.add("share_expert_net.hidden_units", f"{words}; give both the same last width")
    faults.stop()
