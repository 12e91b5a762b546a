"""What holds for every loss: numbers at extremes, one loss a row, outputs as it says."""

import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.losses import LOSSES, Loss


def loss(text: str) -> Loss:
    return next(iter(parts.losses(text).values()))


def takes(text: str, num_class: int) -> bool:
    try:
        loss(text).label_kind(num_class)
    except ConfigError:
        return False
    return True


# Losses of single rows, each with the numbers of logits that it takes.
OF_ROWS = [word for word in LOSSES.words if LOSSES[word].forward is not Loss.forward]
CASES = [(f"{word} {{}}", n) for word in OF_ROWS for n in (1, 2, 3) if takes(f"{word} {{}}", n)]
ALL = pytest.mark.parametrize(("text", "num_class"), CASES)


def rows(num_class: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits in float32 and labels 0 or 1, which every loss takes."""
    logits = scale * parts.normal(40, num_class, dtype=torch.float32).sign()
    labels = (parts.normal(40, seed=1) > 0).float()
    return (logits.squeeze(1) if num_class == 1 else logits), labels


def test_every_loss_of_rows_is_among_those_that_obey_the_laws() -> None:
    """One that takes no number of logits at all would be missing."""
    assert {text.split()[0] for text, _ in CASES} == set(OF_ROWS)
    assert ("softmax_cross_entropy {}", 3) in CASES


@ALL
@pytest.mark.parametrize("scale", [0.0, 1.0, 200.0])
def test_value_and_gradient_are_finite_and_no_loss_is_below_0(
    text: str, num_class: int, scale: float
) -> None:
    logits, labels = rows(num_class, scale)
    logits.requires_grad_()
    each = loss(text).forward(logits, labels)
    [grad] = torch.autograd.grad(each.sum(), logits)
    assert each.isfinite().all()
    assert grad.isfinite().all()
    assert (each >= 0).all()


@ALL
def test_a_row_has_its_loss_whatever_the_others_are(text: str, num_class: int) -> None:
    logits, labels = rows(num_class)
    whole = loss(text).forward(logits, labels)
    assert whole.shape == (40,)
    alone = [loss(text).forward(logits[i : i + 1], labels[i : i + 1]) for i in range(40)]
    assert_close(whole, torch.cat(alone))
    assert loss(text).forward(logits[:0], labels[:0]).shape == (0,)


@ALL
def test_it_predicts_the_outputs_that_it_names_and_those_of_its_link(
    text: str, num_class: int
) -> None:
    """probs1 for two classes alone."""
    logits, _ = rows(num_class)
    outputs = loss(text).predict(logits)
    named = [n for n in loss(text).outputs if n != "probs1" or num_class == 2]
    assert list(outputs) == named
    link = {"sigmoid": torch.sigmoid, "softmax": lambda x: x.softmax(dim=-1)}
    name = loss(text).link(num_class)
    assert name in ("", *link)
    if name:
        assert torch.equal(outputs["probs" if "probs" in named else "y"], link[name](logits))
        assert "logits" not in named or torch.equal(outputs["logits"], logits)
