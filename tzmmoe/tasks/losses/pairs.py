"""Losses of pairs of rows, of which one has the higher label.

Pairs are numbered, not held: a batch of 8,192 rows without sessions has up to 33,550,336, so their
losses are added up some at a time, and made again in the backward pass.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tzmmoe.batch import NO_GROUP
from tzmmoe.errors import ConfigError, Faults, exactly
from tzmmoe.tasks.losses.base import (
    LOSSES,
    LabelKind,
    Loss,
    LossInputs,
    hardest,
    one_logit,
    share,
)

PAIRS_AT_ONCE = 2**18  # 212 MiB at 8,192 rows without sessions; 2**20 took 430, and 17% less time


@dataclass(frozen=True)
class Pairs:
    """All pairs of rows of one session with y_i > y_j, by number.

    The rows are in order of session and label, so that those below row i are the ``counts[i]`` rows
    from ``begins[i]`` on. ``ends[i]``: the number of pairs up to those of row i.
    """

    rows: Tensor  # (R,) their places in the batch
    begins: Tensor
    counts: Tensor
    ends: Tensor

    @classmethod
    def of(cls, labels: Tensor, weights: Tensor, sessions: Tensor | None) -> "Pairs":
        """Of rows with a weight above 0, and with a session if there are any."""
        takes_part = weights > 0
        if sessions is not None:
            takes_part = takes_part & (sessions != NO_GROUP)
        rows = takes_part.nonzero().squeeze(
            1
        )  # waits for the device, but so does the number of pairs
        rows = rows[labels[rows].argsort(stable=True)]
        if sessions is None:
            own = torch.zeros_like(rows)
        else:
            rows = rows[sessions[rows].argsort(stable=True)]
            own = sessions[rows]
        new_session = torch.ones_like(rows, dtype=torch.bool)
        new_session[1:] = own[1:] != own[:-1]
        new_label = new_session.clone()
        new_label[1:] |= labels[rows][1:] != labels[rows][:-1]
        begins = first_of(new_session)
        below = first_of(new_label) - begins
        return cls(rows, begins, below, below.cumsum(0))

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def spans(self) -> Iterator[tuple[int, int]]:
        """The numbers [first, last) of the pairs that are held at one time."""
        count = len(self)
        for first in range(0, count, PAIRS_AT_ONCE):
            yield first, min(first + PAIRS_AT_ONCE, count)

    def numbered(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Higher and lower row, as places in the batch, of the pairs from ``first`` to ``last``."""
        numbers = torch.arange(first, last, device=self.ends.device)
        high = torch.searchsorted(self.ends, numbers, right=True)
        low = self.begins[high] + numbers - (self.ends - self.counts)[high]
        return self.rows[high], self.rows[low]


def two_rows(sessions: Sequence[str], *, with_different_labels: bool = True) -> str:
    """``two rows with the same 'user' and different labels``: what a comparison needs, in words."""
    needed = [f"the same {name!r}" for name in sessions]
    needed += ["different labels"] * with_different_labels
    return f"two rows with {' and '.join(needed)}"


def first_of(new: Tensor) -> Tensor:
    """The place of the last True up to each element (N,), of which the first is True."""
    places = torch.arange(len(new), device=new.device)
    return torch.where(new, places, 0).cummax(0).values if len(new) else places


class PairLoss(Loss):
    """The mean, by the weight of the higher row, of a loss of d = (logit_i - logit_j) / T over all
    pairs, or over the hardest of them."""

    outputs = ("logits", "probs")
    per_row = False
    column_field = "session_name"
    word: str

    def __init__(
        self, *, temperature: float, session_name: str | None, ohem_ratio: float = 1.0
    ) -> None:
        faults = Faults()
        if not 0 < temperature < math.inf:
            faults.add("temperature", f"is {exactly(temperature)}; give a number above 0")
        if session_name == "":
            faults.add("session_name", "is empty; name a column, or remove it to compare all rows")
        with faults.under(""):
            share("ohem_ratio", ohem_ratio)
        faults.stop()
        self.temperature, self.ohem_ratio = temperature, ohem_ratio
        self.columns = () if session_name is None else (session_name,)

    @abstractmethod
    def of_pairs(self, lead: Tensor, labels: Tensor) -> Tensor:
        """The loss of each pair, from d and y_i - y_j."""

    def left_out(self, lead: Tensor) -> Tensor | None:
        """(N,) bool, True for pairs that do not count; None if all do."""
        return None

    def label_kind(self, num_class: int) -> LabelKind:
        one_logit(num_class, self.word)
        return LabelKind()

    def link(self, num_class: int) -> str:
        return "sigmoid"

    def compared_rows(self) -> str:
        return two_rows(self.columns)

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        pairs, kept = self._pairs(inputs), None
        self.count_compared(len(pairs))
        if self.ohem_ratio < 1:
            kept = self._hardest(pairs, inputs)
        total = divisor = inputs.weights.new_zeros(())
        # A batch without pairs has no other path to the logits, which need a gradient of 0.
        total = total + 0.0 * inputs.logits.sum()
        for span in pairs.spans():
            some = partial(self._part, pairs, span, inputs, kept)
            part, count = (
                checkpoint(some, inputs.logits, use_reentrant=False, preserve_rng_state=False)
                if inputs.logits.requires_grad and len(pairs) > PAIRS_AT_ONCE
                else some(inputs.logits)
            )
            total, divisor = total + part, divisor + count
        return total, divisor

    def divisor(self, inputs: LossInputs) -> Tensor:
        pairs = self._pairs(inputs)
        return self.ohem_ratio * (inputs.weights[pairs.rows] * pairs.counts).sum()

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits, "probs": logits.sigmoid()}

    def _pairs(self, inputs: LossInputs) -> Pairs:
        sessions = inputs.columns[self.columns[0]] if self.columns else None
        return Pairs.of(inputs.labels, inputs.weights, sessions)

    def _losses(
        self, pairs: Pairs, span: tuple[int, int], inputs: LossInputs, logits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and weight of some pairs."""
        high, low = pairs.numbered(*span)
        lead = (logits.index_select(0, high) - logits.index_select(0, low)) / self.temperature
        weights = inputs.weights[high]
        if (out := self.left_out(lead)) is not None:
            weights = torch.where(out, 0.0, weights)
        return self.of_pairs(lead, inputs.labels[high] - inputs.labels[low]), weights

    def _part(
        self,
        pairs: Pairs,
        span: tuple[int, int],
        inputs: LossInputs,
        kept: Tensor | None,
        logits: Tensor,
    ) -> tuple[Tensor, Tensor]:
        losses, weights = self._losses(pairs, span, inputs, logits)
        if kept is not None:
            weights = weights * kept[slice(*span)]
        return (losses * weights).sum(), weights.sum()

    @torch.no_grad()
    def _hardest(self, pairs: Pairs, inputs: LossInputs) -> Tensor:
        """The part of each pair that is kept, in [0, 1]."""
        parts = [self._losses(pairs, span, inputs, inputs.logits) for span in pairs.spans()]
        if not parts:
            return inputs.weights.new_zeros(0)
        losses, weights = (torch.cat(column) for column in zip(*parts, strict=True))
        return hardest(losses, weights, self.ohem_ratio)


@LOSSES.register("pair_wise_loss")
class PairWiseLoss(PairLoss):
    """softplus(margin - d). Burges et al., "Learning to Rank using Gradient Descent", ICML 2005."""

    word = "pair_wise_loss"

    def __init__(self, *, margin: float, session_name: str | None, temperature: float) -> None:
        super().__init__(temperature=temperature, session_name=session_name)
        self.margin = finite("margin", margin)

    def of_pairs(self, lead: Tensor, labels: Tensor) -> Tensor:
        return F.softplus(self.margin - lead)


@LOSSES.register("pairwise_logistic_loss")
class PairwiseLogisticLoss(PairLoss):
    """softplus(m - d), m = hinge_margin or y_i - y_j."""

    word = "pairwise_logistic_loss"

    def __init__(
        self,
        *,
        temperature: float,
        session_name: str | None,
        hinge_margin: float | None,
        ohem_ratio: float,
        use_label_margin: bool,
    ) -> None:
        super().__init__(temperature=temperature, session_name=session_name, ohem_ratio=ohem_ratio)
        if use_label_margin and hinge_margin is not None:
            words = "has no effect with use_label_margin; remove one of them"
            raise ConfigError.at("hinge_margin", f"is {exactly(hinge_margin)}, which {words}")
        self.margin = finite("hinge_margin", hinge_margin or 0.0)
        self.use_label_margin = use_label_margin

    def of_pairs(self, lead: Tensor, labels: Tensor) -> Tensor:
        return F.softplus((labels if self.use_label_margin else self.margin) - lead)


@LOSSES.register("pairwise_focal_loss")
class PairwiseFocalLoss(PairLoss):
    """alpha (1 - sigmoid(d))^gamma softplus(-d), over the pairs with d < hinge_margin."""

    word = "pairwise_focal_loss"

    def __init__(
        self,
        *,
        gamma: float,
        alpha: float | None,
        hinge_margin: float | None,
        session_name: str | None,
        ohem_ratio: float,
        temperature: float,
    ) -> None:
        super().__init__(temperature=temperature, session_name=session_name, ohem_ratio=ohem_ratio)
        faults = Faults()
        if not 0 <= gamma < math.inf:
            faults.add("gamma", f"is {exactly(gamma)}; give 0 or more")
        if alpha is not None and not 0 < alpha < math.inf:
            faults.add("alpha", f"is {exactly(alpha)}; give a number above 0")
        with faults.under(""):
            self.bound = None if hinge_margin is None else finite("hinge_margin", hinge_margin)
        faults.stop()
        self.gamma, self.alpha = gamma, 1.0 if alpha is None else alpha

    def of_pairs(self, lead: Tensor, labels: Tensor) -> Tensor:
        # (1 - sigmoid(d))^gamma as an exponential, which has a gradient where it rounds to 0.
        return self.alpha * (self.gamma * F.logsigmoid(-lead)).exp() * F.softplus(-lead)

    def left_out(self, lead: Tensor) -> Tensor | None:
        return None if self.bound is None else lead.detach() >= self.bound

    def divisor(self, inputs: LossInputs) -> Tensor | None:
        return super().divisor(inputs) if self.bound is None else None


@LOSSES.register("pairwise_hinge_loss")
class PairwiseHingeLoss(PairLoss):
    """max(0, m - d), m = y_i - y_j or hinge_margin."""

    word = "pairwise_hinge_loss"

    def __init__(
        self,
        *,
        temperature: float,
        session_name: str | None,
        hinge_margin: float,
        ohem_ratio: float,
        use_label_margin: bool,
    ) -> None:
        super().__init__(temperature=temperature, session_name=session_name, ohem_ratio=ohem_ratio)
        self.margin = finite("hinge_margin", hinge_margin)
        self.use_label_margin = use_label_margin

    def of_pairs(self, lead: Tensor, labels: Tensor) -> Tensor:
        return ((labels if self.use_label_margin else self.margin) - lead).relu()


def finite(field: str, value: float) -> float:
    if not math.isfinite(value):
        raise ConfigError.at(field, f"is {exactly(value)}; give a finite number")
    return value
