"""The wide side of MMoE V2: features x_w, and a linear model's output y_w."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from tzmmoe.errors import Faults
from tzmmoe.models.base import Factor, Group
from tzmmoe.models.mmoe_v2.crossing import Crossing
from tzmmoe.nn.interactions.fm import factorization_machine
from tzmmoe.nn.keras import start_as_keras
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.tables.initializers import table_initializer
from tzmmoe.tables.penalties import Penalty, penalize

EMBEDDINGS = "wide"  # name of the input with the group's features
LATENTS, WEIGHTS = "latent", "weight"  # names of factors, which end their tables' names


@dataclass(frozen=True)
class WideSettings:
    """``kind`` is the schema's wide_type, ``feature`` its wide_feature; ``heads`` is 1, or with
    wide_per_task the number of tasks."""

    feature_cross: int
    output_cross: int
    kind: str
    latent_width: int
    feature: str
    heads: int
    is_prob: bool
    use_bn: bool
    penalty: Penalty

    def crossing(self) -> Crossing:
        """Where the wide side enters the deep one. Raises ConfigError."""
        faults = Faults()
        with faults.under(""):
            crossing = Crossing.of(self.feature_cross, self.output_cross, self.kind, self.feature)
        if self.kind.upper() == "FM" and self.latent_width < 1:
            faults.add("wide_width", f"is {self.latent_width}; give 1 or more")
        faults.stop()
        return crossing


class Wide(nn.Module):
    """x_w (B, D) and y_w (B, heads), each None if nothing sees it by ``crossing``.

    FM: ``factorization_machine`` over the group's fields, with tables of its own. LR: a linear
    layer over the group's embeddings.
    """

    def __init__(self, group: Group, settings: WideSettings, crossing: Crossing) -> None:
        super().__init__()
        self.settings, self.crossing, self.group = settings, crossing, group
        self.gives_embeddings = crossing.features and not crossing.latents
        is_fm = crossing.output and crossing.model == "FM"
        is_lr = crossing.output and crossing.model == "LR"
        self.reads_group = self.gives_embeddings or is_lr
        self.factors: dict[str, Factor] = {}
        members, fields = list(group.widths), sum(group.fields.values())
        if is_fm or (crossing.features and crossing.latents):
            normal = table_initializer("nn.init.xavier_normal_", 1)
            self.factors[LATENTS] = Factor(members, settings.latent_width, normal, settings.penalty)
        if is_fm:
            zeros = table_initializer("nn.init.zeros_", 1)
            heads, penalty = settings.heads, settings.penalty
            self.factors[WEIGHTS] = Factor(members, heads, zeros, penalty, by_task=heads > 1)
        self.out_features = group.width if self.gives_embeddings else fields * settings.latent_width
        self.linear = nn.Linear(group.width, settings.heads) if is_lr else None
        self.norm = BatchNorm(settings.heads) if is_lr and settings.use_bn else None
        self.by_task = settings.heads > 1  # its only parameters are these two layers'
        start_as_keras(self)
        penalize(self, settings.penalty)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        x_BD = y_BT = None
        if self.crossing.features:
            x_BD = inputs[EMBEDDINGS] if self.gives_embeddings else inputs[LATENTS].flatten(1)
        if self.crossing.output:
            y_BT = self._logits(inputs)
            y_BT = y_BT.sigmoid() if self.settings.is_prob else y_BT
        return x_BD, y_BT

    def _logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        if self.linear is None:
            return factorization_machine(inputs[WEIGHTS], inputs[LATENTS])
        y_BT = self.linear(inputs[EMBEDDINGS])
        return y_BT if self.norm is None else self.norm(y_BT)
