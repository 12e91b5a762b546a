"""The body of MMoE V2: mixtures of experts with a wide side."""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tzmmoe.errors import Faults, did_you_mean, few
from tzmmoe.models.base import MODELS, Body, Group, TowerInputs, TowerSpec
from tzmmoe.models.mmoe import mixtures
from tzmmoe.models.mmoe_v2.layers import LayerLists, TaskStructs
from tzmmoe.models.mmoe_v2.rules import RULES
from tzmmoe.models.mmoe_v2.wide import EMBEDDINGS, Wide, WideSettings
from tzmmoe.models.tower import Tower
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.keras import start_as_keras
from tzmmoe.nn.members import check_members
from tzmmoe.nn.mlp import Network
from tzmmoe.tables.penalties import Penalty, penalize

log = logging.getLogger(__name__)

EXPERTS = "experts"  # the input of experts and gates
OF_EXPERTS = ("expert_act", "expert_dropout", "expert_use_bn")
OF_TOWERS = ("task_hidden_act", "task_dropout", "task_use_bn")


@MODELS.register("mmoe_v2")
class MMoEV2(Body):
    """Mixtures of experts that a wide side corrects.

    With x_m the deep features, x_w the wide ones and y_w the output of a factorization machine or a
    logistic regression: experts and gates read x_m or [x_m, x_w]; the tower of task t reads its
    mixture g_t, [g_t, x_w] or [g_t, y_w]; y_w is added to its logits, or not.
    """

    rules = RULES
    of_tasks = ("task_output_act", "name")

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        task_structs: Sequence[Mapping[str, Any]],
        task_use_bias: bool,
        task_hidden_act: Sequence[str],
        task_use_bn: Sequence[bool],
        task_dropout: Sequence[float],
        task_l1_reg: float,
        task_l2_reg: float,
        num_experts: int | None,
        num_members: int,
        expert_layers: Sequence[int],
        expert_use_bias: bool,
        expert_act: Sequence[str],
        expert_dropout: Sequence[float],
        expert_use_bn: Sequence[bool],
        expert_l1_reg: float,
        expert_l2_reg: float,
        gate_use_bias: bool,
        gate_l1_reg: float,
        gate_l2_reg: float,
        share_gates: bool,
        use_wide: bool,
        wide_type: str,
        wide_width: int,
        feature_cross: int,
        output_cross: int,
        wide_l1_reg: float,
        wide_l2_reg: float,
        wide_group: str,
        mmoe_group: str,
        wide_per_task: bool,
        wide_output_is_prob: bool,
        wide_use_bn: bool,
        wide_feature: str,
        dedup_cross_features: bool,
    ) -> None:
        super().__init__()
        faults = Faults()
        has_wide = use_wide and wide_group in groups
        _check_sizes(num_experts, expert_layers, num_members, faults)
        _check_groups(groups, mmoe_group, [wide_group] if has_wide else [], faults)
        factors = {
            "task": (task_l1_reg, task_l2_reg),
            "expert": (expert_l1_reg, expert_l2_reg),
            "gate": (gate_l1_reg, gate_l2_reg),
            "wide": (wide_l1_reg, wide_l2_reg),
        }
        penalties = _penalties(factors, faults)
        with faults.under(""):
            lists = LayerLists(expert_act, expert_dropout, expert_use_bn, OF_EXPERTS)
            lines = list(lists.surplus(dict.fromkeys(OF_EXPERTS, len(expert_layers))))
            layers = lists.layers(expert_layers, bias=expert_use_bias)
        with faults.under(""):
            lists = LayerLists(task_hidden_act, task_dropout, task_use_bn, OF_TOWERS)
            self.structs = TaskStructs(task_structs, lists, task_use_bias, penalties["task"])
            self.structs.check(towers)
        with faults.under(""):
            settings = WideSettings(
                feature_cross,
                output_cross,
                wide_type,
                wide_width,
                wide_feature,
                len(towers) if wide_per_task else 1,
                wide_output_is_prob,
                wide_use_bn,
                penalties["wide"],
            )
            crossing = settings.crossing() if has_wide else None
        faults.stop()
        for line in dict.fromkeys([*lines, *self.structs.surplus()]):
            log.warning("%s", line)
        self.num_tasks, self.wide = len(towers), None
        if crossing and (crossing.features or crossing.output):
            self.wide = Wide(groups[wide_group], settings, crossing)
        width = self._join(groups[mmoe_group], dedup=dedup_cross_features)
        members = self.make_members(width, num_members, faults)
        self.experts = Network(width, layers, copies=num_experts, members=members)
        num_gates = 1 if share_gates else len(towers)
        sizes = {"num_tasks": num_gates, "num_experts": num_experts, "members": members}
        self.gates = Gates(width, bias=gate_use_bias, **sizes)
        for part, name in ((self.experts, "expert"), (self.gates, "gate")):
            start_as_keras(part)
            penalize(part, penalties[name])
        self.out_features = [self.experts.out_features + self._beside()] * len(towers)

    def _join(self, deep: Group, *, dedup: bool) -> int:
        """Set ``groups``, by names of the body's own; return the width of the experts' input."""
        members, wide, width = list(deep.widths), self.wide, deep.width
        self.groups = {EXPERTS: members}
        if wide is None:
            return width
        self.factors = wide.factors
        if wide.reads_group:
            self.groups[EMBEDDINGS] = list(wide.group.widths)
        if not wide.crossing.experts:
            return width
        if not wide.gives_embeddings:
            return width + wide.out_features
        for name, wide_width in wide.group.widths.items():
            if not (dedup and name in deep.widths):
                members.append(name)
                width += wide_width
        return width

    def _beside(self) -> int:
        """Width of what towers see in addition to their mixtures."""
        seen = self.wide.crossing.towers if self.wide else ""
        return {"features": self.wide.out_features, "output": 1}[seen] if seen else 0

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        x_BD = inputs[EXPERTS]
        if self.wide is None:
            return TowerInputs(self._each(self._mixtures(x_BD)))
        features_BD, output_BT = self.wide(inputs)
        crossing = self.wide.crossing
        if crossing.experts and not self.wide.gives_embeddings:
            x_BD = torch.cat([x_BD, features_BD], dim=1)
        hidden = self._each(self._mixtures(x_BD))
        outputs, beside = None, []
        if output_BT is not None:
            outputs = self._each(output_BT.unsqueeze(-1))
        if crossing.towers == "features":
            beside = [features_BD] * len(hidden)
        elif crossing.towers == "output":
            beside = outputs
        if beside:
            beside = [each.repeat_interleave(self.num_members, 0) for each in beside]
            hidden = [torch.cat(pair, dim=1) for pair in zip(hidden, beside, strict=True)]
        return TowerInputs(hidden, outputs if crossing.logits else None)

    def _mixtures(self, x_BD: Tensor) -> Tensor:
        return mixtures(self.member_inputs(x_BD), self.gates, self.experts)

    def _each(self, parts_BTH: Tensor) -> list[Tensor]:
        """A part for each task, or the only part for all."""
        parts = list(parts_BTH.unbind(1))
        return parts if len(parts) == self.num_tasks else parts * self.num_tasks

    def serving(self, kept: Sequence[int]) -> Body:
        """The whole body if it has a wide side, or one gate for all tasks."""
        if self.wide or len(self.gates.final.weight) < self.num_tasks:
            return super().serving(kept)
        body = copy.deepcopy(self)
        body.gates.keep(kept)
        body.num_tasks = len(kept)
        return body

    def tower(self, index: int, spec: TowerSpec, read: Sequence[Tower] = ()) -> Tower:
        return self.structs.tower(index, self.out_features[index], self.num_members)


def _penalties(factors: Mapping[str, tuple[float, float]], faults: Faults) -> dict[str, Penalty]:
    """By part of the network; a penalty of 0 where l1 or l2 is faulty."""
    penalties = {}
    for part, (l1, l2) in factors.items():
        penalties[part] = Penalty(0.0, 0.0)
        with faults.under(""):
            penalties[part] = Penalty.of(part, l1, l2)
    return penalties


def _check_sizes(
    num_experts: int | None, expert_layers: Sequence[int], num_members: int, faults: Faults
) -> None:
    if not num_experts:
        state = "is not set" if num_experts is None else "is 0"
        faults.add("num_experts", f"{state}; give 1 or more")
    if not expert_layers or min(expert_layers) < 1:
        faults.add("expert_layers", f"is {list(expert_layers)}; give widths above 0")
    with faults.under(""):
        check_members(num_members)


def _check_groups(
    groups: Mapping[str, Group], deep: str, others: Sequence[str], faults: Faults
) -> None:
    """Add a fault if there is no deep group; warn of the groups that are not read."""
    unread = [name for name in groups if name not in (deep, *others)]
    if deep not in groups:
        words = f"{deep!r} is not in model_config.feature_groups; name one of those groups"
        faults.add("mmoe_group", words + did_you_mean(deep, groups))
    elif unread:
        log.warning("mmoe_v2 does not read these feature groups: %s", few(unread))
