"""The wide side of MMoE V2: features x_w, and a linear model's output y_w."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from tzmmoe.errors import Faults
from tzmmoe.models.base import Factor, Group
from tzmmoe.models.crossing import Crossing, without_effect
from tzmmoe.nn.fm import factorization_machine
from tzmmoe.nn.initializers import table_initializer
from tzmmoe.nn.keras import start_as_keras
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.nn.regularizers import Penalty, penalize

log = logging.getLogger(__name__)

EMBEDDINGS = "wide"  # the input of the group's features
LATENTS, WEIGHTS = "latent", "weight"  # factors, and the ends of their tables' names


@dataclass(frozen=True)
class WideSetting:
    """``kind`` is the schema's wide_type, ``feature`` its wide_feature; ``heads`` is 1, or the
    number of tasks under wide_per_task."""

    feature_cross: int
    output_cross: int
    kind: str
    latent_width: int
    feature: str
    heads: int
    is_prob: bool
    use_bn: bool
    penalty: Penalty

    @property
    def model(self) -> str:
        """FM, LR, or "" for none."""
        return self.kind.upper() if self.kind.upper() in ("FM", "LR") else ""

    @property
    def has_latents(self) -> bool:
        """x_w is FM's latents side by side, not the embeddings."""
        return self.feature == "latents" or (self.feature == "auto" and self.model == "FM")

    def crossing(self) -> Crossing:
        """Where the side enters; what has no effect gets its line. Raises ConfigError."""
        crosses, has_model = (self.feature_cross, self.output_cross), bool(self.model)
        faults = Faults()
        self._check(faults)
        with faults.under(""):
            crossing = Crossing.of(*crosses, has_model=has_model)
        faults.stop()
        lines = [*without_effect(*crosses, self.kind, has_model=has_model), *self._void(crossing)]
        for line in lines:
            log.warning("%s", line)
        return crossing

    def _void(self, crossing: Crossing) -> Iterator[str]:
        """A line for settings of what a side with a model could give, but nothing sees."""
        if not (crossing.features or crossing.output):
            return
        is_lr = self.model == "LR"
        of_the_output = {
            "wide_l1_reg": is_lr and self.penalty.l1,
            "wide_l2_reg": is_lr and self.penalty.l2,
            "wide_per_task": self.model and self.heads > 1,
            "wide_output_is_prob": self.model and self.is_prob,
            "wide_use_bn": is_lr and self.use_bn,
        }
        given = [name for name, value in of_the_output.items() if value]
        if given and not crossing.output:
            yield f"mmoe_v2: no effect of {', '.join(given)}: nothing reads the wide model's output"
        if self.feature != "auto" and not crossing.features:
            yield "mmoe_v2: no effect of wide_feature: nothing reads the wide features"

    def _check(self, faults: Faults) -> None:
        if self.feature not in ("auto", "latents", "embeddings"):
            words = f"is {self.feature!r}; give auto, latents or embeddings"
            faults.add("wide_feature", words)
        if self.feature == "latents" and self.model != "FM":
            words = "is 'latents', which only wide_type 'FM' has; give embeddings or auto"
            faults.add("wide_feature", words)
        if self.model == "FM" and self.latent_width < 1:
            faults.add("wide_width", f"is {self.latent_width}; give 1 or more")


class Wide(nn.Module):
    """x_w (B, D) and y_w (B, heads), each only if ``crossing`` shows it to something, else None.

    FM: ``factorization_machine`` over the group's fields, with tables of its own. LR: a linear
    layer over the group's embeddings.
    """

    def __init__(self, group: Group, setting: WideSetting, crossing: Crossing) -> None:
        super().__init__()
        self.setting, self.crossing, self.group = setting, crossing, group
        self.gives_embeddings = crossing.features and not setting.has_latents
        is_fm = crossing.output and setting.model == "FM"
        is_lr = crossing.output and setting.model == "LR"
        self.reads_group = self.gives_embeddings or is_lr
        self.factors: dict[str, Factor] = {}
        members, fields = list(group.widths), sum(group.fields.values())
        if is_fm or (crossing.features and setting.has_latents):
            normal = table_initializer("nn.init.xavier_normal_", 1)
            self.factors[LATENTS] = Factor(members, setting.latent_width, normal, setting.penalty)
        if is_fm:
            zeros = table_initializer("nn.init.zeros_", 1)
            self.factors[WEIGHTS] = Factor(members, setting.heads, zeros, setting.penalty)
        self.out_features = group.width if self.gives_embeddings else fields * setting.latent_width
        self.linear = nn.Linear(group.width, setting.heads) if is_lr else None
        self.norm = BatchNorm(setting.heads) if is_lr and setting.use_bn else None
        start_as_keras(self)
        penalize(self, setting.penalty)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        x_BD = y_BT = None
        if self.crossing.features:
            x_BD = inputs[EMBEDDINGS] if self.gives_embeddings else inputs[LATENTS].flatten(1)
        if self.crossing.output:
            y_BT = self._logits(inputs)
            y_BT = y_BT.sigmoid() if self.setting.is_prob else y_BT
        return x_BD, y_BT

    def _logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        if self.linear is None:
            return factorization_machine(inputs[WEIGHTS], inputs[LATENTS])
        y_BT = self.linear(inputs[EMBEDDINGS])
        return y_BT if self.norm is None else self.norm(y_BT)
