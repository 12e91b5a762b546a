"""Losses for rare labels: pos_weight and the focal loss, against their formulas and laws."""

import math
from decimal import Context, Decimal, localcontext

import oracles
import parts
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.losses import LabelKind, Loss

LOGITS = [-200.0, -30.0, -3.0, 0.0, 0.7, 3.0, 30.0, 200.0]
LABELS = [0.0, 0.3, 1.0]


def weighted(pos_weight: float, smoothing: float = 0.0) -> Loss:
    fields = f"pos_weight: {pos_weight} label_smoothing: {smoothing}"
    return parts.losses(f"binary_cross_entropy {{ {fields} }}")["binary_cross_entropy"]


def focal(gamma: float, alpha: float) -> Loss:
    text = f"binary_focal_loss {{ gamma: {gamma} alpha: {alpha} }}"
    return parts.losses(text)["binary_focal_loss"]


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logs(logit: float) -> tuple[Decimal, Decimal]:
    """log p and log(1 - p) with 130 digits."""
    with localcontext(Context(prec=130)):
        p = 1 / (1 + (-Decimal(logit)).exp())
        return p.ln(), (1 - p).ln()


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pos_weight_multiplies_the_part_of_the_positives(
    logit: float, label: float, smoothing: float, dtype: torch.dtype
) -> None:
    log_p, log_q = logs(logit)
    with localcontext(Context(prec=130)):
        y = Decimal(label) * (1 - Decimal(smoothing)) + Decimal(smoothing) / 2
        wanted = numbers(float(-Decimal("7.5") * y * log_p - (1 - y) * log_q))
    rows = weighted(7.5, smoothing).forward(
        torch.tensor([logit], dtype=dtype), torch.tensor([label], dtype=dtype)
    )
    precision = 1e-12 if dtype == torch.float64 else 1e-6
    assert_close(rows.double(), wanted, rtol=precision, atol=precision * 1e-12)


def test_pos_weight_is_torchs() -> None:
    logits, labels = 5 * parts.normal(200), (parts.normal(200, seed=1) > 1).double()
    wanted = F.binary_cross_entropy_with_logits(
        logits, labels, pos_weight=numbers(40.0), reduction="none"
    )
    assert_close(weighted(40.0).forward(logits, labels), wanted)


def test_a_pos_weight_of_1_changes_no_bit() -> None:
    logits, labels = parts.normal(200).float(), (parts.normal(200, seed=1) > 0).float()
    plain = parts.losses("binary_cross_entropy {}")["binary_cross_entropy"]
    wanted = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    for loss in (plain, weighted(1.0)):
        assert torch.equal(loss.forward(logits, labels), wanted)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.5])
@pytest.mark.parametrize("pos_weight", [0.5, 10.0])
def test_the_best_prediction_under_pos_weight_turns_back_into_the_share_as_the_reference_says(
    share: float, pos_weight: float
) -> None:
    """The loss of rows with this share of positives has its only flat point at those odds."""
    q = pos_weight * share / (pos_weight * share + 1 - share)
    logits = numbers(math.log(q / (1 - q))).requires_grad_()
    loss = weighted(pos_weight)
    mean = share * loss.forward(logits, numbers(1)) + (1 - share) * loss.forward(logits, numbers(0))
    [slope] = torch.autograd.grad(mean.sum(), logits)
    assert abs(float(slope)) < 1e-12
    assert loss.predict(logits)["probs"].item() == pytest.approx(q, rel=1e-9)
    assert q / (q + pos_weight * (1 - q)) == pytest.approx(share, rel=1e-9)


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(("gamma", "alpha"), [(0.0, 0.25), (2.0, 0.5), (0.5, 0.9), (5.0, 0.25)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_focal_loss_equals_its_formula(
    logit: float, label: float, gamma: float, alpha: float, dtype: torch.dtype
) -> None:
    log_p, log_q = logs(logit)
    with localcontext(Context(prec=130)):
        y, g, a = Decimal(label), Decimal(gamma), Decimal(alpha)
        positive = a * y * (g * log_q).exp() * log_p
        negative = (1 - a) * (1 - y) * (g * log_p).exp() * log_q
        wanted = numbers(float(-positive - negative))
    rows = focal(gamma, alpha).forward(
        torch.tensor([logit], dtype=dtype), torch.tensor([label], dtype=dtype)
    )
    # float32 has no number below 1e-45, and its exponential of -100 an error of 100 roundings
    relative, absolute = (1e-11, 0.0) if dtype == torch.float64 else (2e-5, 1e-37)
    assert_close(rows.double(), wanted, rtol=relative, atol=absolute)


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("label", LABELS)
def test_focal_loss_without_fading_is_half_of_cross_entropy(logit: float, label: float) -> None:
    rows = focal(0.0, 0.5).forward(numbers(logit), numbers(label))
    assert rows.item() == pytest.approx(oracles.binary_cross_entropy(logit, label) / 2, rel=1e-12)


@pytest.mark.parametrize(
    "loss", [weighted(7.5, 0.1), weighted(0.2), focal(2.0, 0.5), focal(0.0, 0.25), focal(0.5, 0.9)]
)
def test_gradients_equal_finite_differences(loss: Loss) -> None:
    labels, logits = numbers(0, 1, 0.3, 1, 0), (3 * parts.normal(5)).requires_grad_()
    assert gradcheck(lambda x: loss.forward(x, labels), logits)


@pytest.mark.parametrize("loss", [weighted(1e6), focal(0.0, 0.5), focal(0.3, 0.25), focal(9, 0.9)])
@pytest.mark.parametrize("logit", [-1e30, -1e4, -200.0, 200.0, 1e4, 1e30])
@pytest.mark.parametrize("label", LABELS)
def test_gradients_are_finite_where_the_probability_rounds_to_0_or_1(
    loss: Loss, logit: float, label: float
) -> None:
    logits = torch.tensor([logit]).requires_grad_()
    [grad] = torch.autograd.grad(loss.forward(logits, torch.tensor([label])).sum(), logits)
    assert grad.isfinite().all()


def best_prediction(share: float, loss: Loss) -> float:
    """The prediction, on a fine grid, that rows with this share of positives prefer."""
    q = torch.linspace(1e-5, 1 - 1e-5, 400_001, dtype=torch.float64)
    ones = torch.ones_like(q)
    mean = share * loss.forward(q.logit(), ones) + (1 - share) * loss.forward(q.logit(), 0 * ones)
    return float(q[mean.argmin()])


def test_focal_loss_draws_predictions_to_one_half_and_keeps_their_order() -> None:
    shares = [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99]
    best = [best_prediction(share, focal(2.0, 0.5)) for share in shares]
    assert best == sorted(best)
    assert best[0] == pytest.approx(0.15, abs=0.005)  # as the reference says
    assert all(abs(q - 0.5) <= abs(share - 0.5) for q, share in zip(best, shares, strict=True))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("binary_cross_entropy { pos_weight: VALUE }", "pos_weight"),
        ("binary_focal_loss { alpha: VALUE }", "alpha"),
        ("binary_focal_loss { gamma: VALUE }", "gamma"),
    ],
)
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "0", "1"])
def test_values_out_of_range_are_refused(text: str, path: str, value: str) -> None:
    if value in {"pos_weight": ("1",), "gamma": ("0", "1")}.get(path, ()):
        return
    with pytest.raises(ConfigError) as error:
        parts.losses(text.replace("VALUE", value))
    assert [fault.path for fault in error.value.faults] == [path]


def test_both_take_one_logit_and_predict_its_sigmoid() -> None:
    for loss in (weighted(9.0), focal(2.0, 0.25)):
        assert loss.label_kind(1) == LabelKind(0, 1)
        assert loss.link(1) == "sigmoid"
        with pytest.raises(ConfigError, match="num_class"):
            loss.label_kind(2)
        assert loss.predict(numbers(0.3))["probs"].item() == pytest.approx(1 / (1 + math.exp(-0.3)))
