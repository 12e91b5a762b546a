"""Losses against the numbers that EasyRec itself gave (commit bd230cb1, TensorFlow 2.12.1).

It divides weighted means by count(w != 0), we by sum(w); the weight of a pair is its higher row's.
"""

import json
from pathlib import Path

import parts
import pytest
import torch
from torch import Tensor

from tzmmoe.tasks.losses.base import LossInputs

EASYREC = json.loads(Path(__file__).with_name("easyrec.json").read_text())
ROWS = {name: torch.tensor(values) for name, values in EASYREC["rows"].items()}
SESSION = 'session_name: "s"'
CASES = {
    "classification": "binary_cross_entropy {}",
    "pair_wise": "pair_wise_loss {}",
    "pair_wise_session": f"pair_wise_loss {{ margin: 0.5 temperature: 2 {SESSION} }}",
    "pairwise_logistic": f"pairwise_logistic_loss {{ {SESSION} }}",
    "pairwise_focal": f"pairwise_focal_loss {{ {SESSION} }}",
    "pairwise_hinge": f"pairwise_hinge_loss {{ {SESSION} }}",
    "binary_focal": "binary_focal_loss { gamma: 2 alpha: 0.5 }",
    "jrc": f"jrc_loss {{ {SESSION} }}",
    "f1": "f1_reweighted_loss { f1_beta_square: 0.5625 }",
    "classification_w": "binary_cross_entropy {}",
    "l2_w": "l2_loss {}",
    "pair_wise_w": "pair_wise_loss {}",
}


def mean(text: str, logits: Tensor, labels: Tensor, weights: Tensor) -> float:
    [loss] = parts.losses(text).values()
    columns = dict.fromkeys(loss.columns, ROWS["sessions"])
    total, count = loss.sums(LossInputs(logits, labels, weights.double(), columns, {}))
    return float(total / count)


def rescaled(name: str, weights: Tensor) -> float:
    """EasyRec's number, divided by sum(w) in place of count(w != 0)."""
    labels = ROWS["labels"]
    if name.startswith("pair_wise"):
        lower = (labels[:, None] > labels).sum(dim=1)
        counts, sums = ((weights != 0) * lower).sum(), (weights * lower).sum()
    else:
        counts, sums = (weights != 0).sum(), weights.sum()
    return EASYREC["losses"][name] * float(counts / sums)


def test_every_number_is_compared() -> None:
    assert {*CASES} == {*EASYREC["losses"]}


@pytest.mark.parametrize("name", CASES)
def test_a_loss_has_the_value_that_easyrec_gives(name: str) -> None:
    is_weighted = name.endswith("_w")
    weights = ROWS["weights"] if is_weighted else torch.ones(24)
    logits = ROWS["logits2" if name == "jrc" else "logits"]
    labels = ROWS["numbers" if name == "l2_w" else "labels"]
    wanted = rescaled(name, weights) if is_weighted else EASYREC["losses"][name]
    kept = weights > 0  # a pair whose lower row has weight 0 counts there
    if name == "pair_wise_w":
        lower_too = LowerRowsToo(logits, labels, weights)
        assert lower_too.value == pytest.approx(wanted, rel=2e-6)
        wanted = LowerRowsToo(logits[kept], labels[kept], weights[kept]).value
    assert mean(CASES[name], logits, labels, weights) == pytest.approx(wanted, rel=2e-6)


class LowerRowsToo:
    """EasyRec's weighted pairs in float64, in which the lower row's weight plays no part."""

    def __init__(self, logits: Tensor, labels: Tensor, weights: Tensor) -> None:
        better = (labels[:, None] > labels).double() * weights.double()[:, None]
        losses = torch.nn.functional.softplus(logits.double() - logits.double()[:, None])
        self.value = float((losses * better).sum() / better.sum())
