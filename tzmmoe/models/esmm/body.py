"""Entire space multi-task model: conversions after clicks, learned over all impressions."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from tzmmoe.errors import Faults
from tzmmoe.models.base import MODELS, Body, Group, TowerInputs, TowerSpec, only_group
from tzmmoe.models.esmm.grouped_input import GroupedInput
from tzmmoe.nn.mlp import MLP
from tzmmoe.tables.penalties import half_of_squares, penalize
from tzmmoe.tasks.relations import Conditional, Product
from tzmmoe.tasks.task import Task

PRODUCT = "ctcvr"


@MODELS.register("esmm")
class ESMM(Body):
    """p(click and conversion) = p(click) p(conversion | click), each a tower.

    The losses are of the click and of the product, over all rows; the conversion rate learns
    through the product alone, so that it is not biased to the clicked rows. The embeddings are
    shared. Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, eq. 1-3.
    """

    of_tasks = ("ctcvr_label",)

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        bottom_mlp: dict[str, Any] | None,
        share_bottom: bool,
        group_networks: Sequence[Mapping[str, Any]],
        l2_regularization: float,
    ) -> None:
        super().__init__()
        faults, width = Faults(), 1
        networks = group_networks or [{"input": only_group(groups, "esmm"), "mlp": None}]
        with faults.under(""):
            self.input = GroupedInput(groups, networks, "group_networks")
            width = self.input.out_features
            self.groups = {name: list(groups[name].widths) for name in self.input.names}
        with faults.under(""):
            self.kernel_penalty = half_of_squares(l2_regularization)
        if share_bottom and bottom_mlp is None:
            words = "is true, but there is no bottom_mlp to share; give that, or remove this"
            faults.add("share_bottom", words)
        # Two networks, not one stacked: gradient surgery must see that only ctcvr reaches cvr's.
        bottoms = 0 if bottom_mlp is None else 1 if share_bottom else len(towers)
        with faults.under("bottom_mlp"):
            self.bottoms = nn.ModuleList(MLP(width, **bottom_mlp) for _ in range(bottoms))
        faults.stop()
        penalize(self, self.kernel_penalty)
        out_features = self.bottoms[0].out_features if bottoms else width
        self.out_features = [out_features] * len(towers)

    @classmethod
    def relate(cls, tasks: Sequence[Task], fields: Mapping[str, Any]) -> list[Task]:
        """ctr; cvr, which is only measured, on the clicked rows; and their product, which has the
        losses of the cvr tower, and metrics like it."""
        ctr, cvr = tasks
        _check(ctr, cvr)
        label = fields["ctcvr_label"]
        product = Product((ctr.name, cvr.name), () if label else (ctr.label,))
        return [
            ctr,
            replace(
                cvr.separate(),
                losses={},
                links=tuple(cvr.losses.values()),
                relation=Conditional(ctr.label),
            ),
            replace(cvr, name=PRODUCT, label=label or cvr.label, relation=product),
        ]

    def serving(self, kept: Sequence[int]) -> Body:
        body = copy.deepcopy(self)
        if len(body.bottoms) > 1:
            body.bottoms = nn.ModuleList(body.bottoms[place] for place in kept)
        body.out_features = [self.out_features[place] for place in kept]
        return body

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        x_BD = self.input(inputs)
        hidden = [bottom(x_BD).squeeze(1) for bottom in self.bottoms] or [x_BD]
        each = len(self.out_features) // len(hidden)
        return TowerInputs(hidden * each)


def _check(ctr: Task, cvr: Task) -> None:
    """Raise ConfigError unless both towers give probabilities that can be multiplied."""
    faults = Faults()
    for field, task in (("ctr_tower", ctr), ("cvr_tower", cvr)):
        if task.name == PRODUCT:
            words = f"is {PRODUCT!r}, the name of the product's outputs; choose another"
            faults.add(f"{field}.tower_name", words)
        if task.num_class != 1:
            words = f"is {task.num_class}; esmm multiplies probabilities of 1 logit each"
            faults.add(f"{field}.num_class", words)
        elif not any(loss.link(1) == "sigmoid" for loss in task.losses.values()):
            words = f"{', '.join(task.losses)} gives no probabilities, which esmm multiplies"
            faults.add(f"{field}.losses", f"{words}; give binary_cross_entropy {{}}")
    if cvr.label == ctr.label:
        words = f"is {cvr.label!r}, the click's label too; name the label of the conversion"
        faults.add("cvr_tower.label_name", words)
    if cvr.space and cvr.space.indicator == ctr.label:
        words = "is the click's label, but esmm learns over all rows; remove it"
        faults.add("cvr_tower.task_space_indicator_label", words)
    faults.stop()
