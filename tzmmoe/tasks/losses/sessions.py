"""Losses of the rows of a session, compared with each other."""

import torch
from torch import Tensor

from tzmmoe.batch import NO_GROUP
from tzmmoe.errors import ConfigError, Faults, exactly
from tzmmoe.tasks.losses.base import LOSSES, LabelKind, Loss, LossInputs, weighted_sums
from tzmmoe.tasks.losses.pairs import two_rows


@LOSSES.register("jrc_loss")
class JRCLoss(Loss):
    """alpha CE + (1 - alpha) GE: for each row the cross entropy of its class y, and
    -log(exp(logit_y) / sum of exp(logit_y) over its session), y being its own class throughout.

    Sheng et al., "Joint Optimization of Ranking and Calibration with Contextualized Hybrid Model",
    KDD 2023. A label between 0 and 1 is that mixture of both classes.
    """

    outputs = ("logits", "probs", "probs1")
    per_row = True
    column_field = "session_name"

    def __init__(self, *, session_name: str | None, alpha: float, same_label_loss: bool) -> None:
        faults = Faults()
        if not session_name:
            faults.add("session_name", "is not set; name the column of the sessions")
        if not 0 <= alpha <= 1:
            faults.add("alpha", f"is {exactly(alpha)}; give 0 to 1")
        faults.stop()
        self.columns = (session_name,)
        self.alpha, self.same_label_loss = alpha, same_label_loss

    def label_kind(self, num_class: int) -> LabelKind:
        if num_class != 2:
            raise ConfigError.at("num_class", f"is {num_class}; jrc_loss takes 2 logits; give 2")
        return LabelKind(0, 1, 2)

    def link(self, num_class: int) -> str:
        return "softmax"

    def compared_rows(self) -> str:
        return two_rows(self.columns, with_different_labels=not self.same_label_loss)

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        labels, weights = inputs.labels, inputs.weights
        positive = labels[:, 1] if labels.dim() > 1 else labels
        shares_B2 = torch.stack([1 - positive, positive], dim=1)
        entropy = -(shares_B2 * inputs.logits.log_softmax(dim=1)).sum(dim=1)
        sessions = inputs.columns[self.columns[0]]
        spread_B2 = self._spread(inputs.logits, positive, sessions, weights)
        in_session = (shares_B2 * spread_B2).sum(dim=1)
        rows = self.alpha * entropy + (1 - self.alpha) * in_session
        return weighted_sums(rows, weights)

    def _spread(
        self, logits_B2: Tensor, positive: Tensor, sessions: Tensor, weights: Tensor
    ) -> Tensor:
        """log of the sum of exp(logit) over the rows that each is compared with, minus its own."""
        alone = sessions == NO_GROUP
        distinct, places = torch.unique(sessions, return_inverse=True)
        takes_part = (weights > 0) & ~alone
        num_sessions = len(distinct)
        self.count_compared(self._num_compared(positive, takes_part, places, num_sessions))
        compared_B2 = takes_part.unsqueeze(1).expand(-1, 2)
        if not self.same_label_loss:  # positives with negatives by logit 1, and the other way round
            is_positive = positive > 0.5
            compared_B2 = compared_B2 & torch.stack([is_positive, ~is_positive], dim=1)
        masked_B2 = logits_B2.masked_fill(~compared_B2, -torch.inf)
        whole_B2 = session_logsumexp(masked_B2, places, num_sessions)
        if not self.same_label_loss:
            whole_B2 = torch.logaddexp(whole_B2, logits_B2)
        # A row that is not compared with itself has no share; its weight is 0, or it is alone.
        return torch.where(takes_part.unsqueeze(1), whole_B2, logits_B2) - logits_B2

    def _num_compared(
        self, positive: Tensor, takes_part: Tensor, places: Tensor, num_sessions: int
    ) -> Tensor:
        """The number of sessions with rows to compare. places: (B,), as in session_logsumexp."""
        none = torch.zeros(num_sessions, dtype=torch.int64, device=places.device)
        rows = none.index_add(0, places, takes_part.long())
        if self.same_label_loss:
            return (rows > 1).sum()
        high = none.index_add(0, places, (takes_part & (positive > 0.5)).long())
        return ((high > 0) & (high < rows)).sum()

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        probs = logits.softmax(dim=-1)
        return {"logits": logits, "probs": probs, "probs1": probs[:, 1]}


def session_logsumexp(logits_BC: Tensor, places: Tensor, num_sessions: int) -> Tensor:
    """For each row (B, C) the logsumexp of the rows of its session; places: (B,), 0 to S - 1. A
    session without finite rows has a large negative number, whose gradient is 0."""
    size = (num_sessions, logits_BC.shape[1])
    index = places.unsqueeze(1).expand_as(logits_BC)
    top = logits_BC.new_full(size, torch.finfo(logits_BC.dtype).min)
    top = top.scatter_reduce(0, index, logits_BC.detach(), "amax")
    parts = (logits_BC - top[places]).exp()
    total = logits_BC.new_zeros(size).index_add(0, places, parts)
    tiny = torch.finfo(logits_BC.dtype).tiny
    return (top + total.clamp(min=tiny).log())[places]
