"""Loss of rare classes."""

import math

from torch import Tensor
from torch.nn import functional as F

from tzmmoe.errors import Faults, exactly
from tzmmoe.tasks.losses.base import LOSSES, LabelKind, Loss, one_logit


@LOSSES.register("binary_focal_loss")
class BinaryFocalLoss(Loss):
    """-a y (1 - p)^g log p - (1 - a) (1 - y) p^g log(1 - p), p = sigmoid(logit).

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5. A label y between 0 and 1
    is that mixture of both classes.
    """

    outputs = ("logits", "probs")

    def __init__(self, *, gamma: float, alpha: float) -> None:
        faults = Faults()
        if not 0 <= gamma < math.inf:
            faults.add("gamma", f"is {exactly(gamma)}; give 0 or more")
        if not 0 < alpha < 1:
            faults.add("alpha", f"is {exactly(alpha)}; give above 0 and below 1")
        faults.stop()
        self.gamma, self.alpha = gamma, alpha

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, "binary_focal_loss")
        return LabelKind(0, 1)

    def link(self, num_class: int) -> str:
        return "sigmoid"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        # Powers as exponentials of log p: a power of p itself has no gradient where p rounds to 0.
        log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
        positive = self.alpha * labels * (self.gamma * log_q).exp() * log_p
        negative = (1 - self.alpha) * (1 - labels) * (self.gamma * log_p).exp() * log_q
        return -positive - negative

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits, "probs": logits.sigmoid()}
