"""Loss of probabilities whose order is known: no event is more likely than one that it implies."""

from collections.abc import Sequence

from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.losses.base import LOSSES, LabelKind, Loss, LossInputs, one_logit


@LOSSES.register("order_calibrate_loss")
class OrderCalibrateLoss(Loss):
    """sum_t max(0, p - p_t) for each row, over the other towers t; each row counts once.

    Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with
    Multi-task Learning in Targeted Display Advertising", KDD 2021.
    """

    outputs = ("logits", "probs")
    per_row = True
    rows = "all"
    needs_one_logit = True

    def __init__(self, *, tower_names: Sequence[str]) -> None:
        if not tower_names:
            raise ConfigError.at("tower_names", "is empty; name the towers of the implied events")
        for index, name in enumerate(tower_names):
            if name in tower_names[:index]:
                raise ConfigError.at(
                    f"tower_names[{index}]", f"{name!r} is listed twice; remove one"
                )
        self.others = tuple(tower_names)

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, "order_calibrate_loss")
        return LabelKind()

    def link(self, num_class: int) -> str:
        return "sigmoid"

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        own = inputs.logits.sigmoid()
        rows = sum((own - other.float().sigmoid()).relu() for other in inputs.others.values())
        return (rows * inputs.weights).sum(), inputs.weights.sum()

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits, "probs": logits.sigmoid()}
