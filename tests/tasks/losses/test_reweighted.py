"""F1, hard examples, smoothing and order calibration against loops in float64."""

import math

import parts
import pytest
import torch

from tzmmoe.tasks.losses.base import LossInputs, hardest


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def rows(scale: float, num_rows: int = 30) -> LossInputs:
    source = parts.generator(2)
    logits = torch.randn(num_rows, generator=source)
    logits = logits.sign() * scale if scale > 100 else logits * scale
    labels = (torch.rand(num_rows, generator=source) < 0.4).float()
    weights = torch.randint(0, 3, (num_rows,), generator=source).double()
    return LossInputs(logits, labels, weights, {}, {})


def values(given: LossInputs) -> list[tuple[float, float, float]]:
    columns = (given.logits, given.labels, given.weights)
    return list(zip(*(column.double().tolist() for column in columns), strict=True))


def mean(text: str, given: LossInputs) -> float:
    [loss] = parts.losses(text).values()
    total, count = loss.sums(given)
    assert float(loss.divisor(given)) == float(count)
    return float(total / count)


@pytest.mark.parametrize("scale", [0.0, 1.0, 200.0])
@pytest.mark.parametrize("beta_square", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_f1_weighs_negatives_by_what_is_predicted(
    scale: float, beta_square: float, smoothing: float
) -> None:
    given = rows(scale)
    predicted = sum(w * math.exp(-softplus(-x)) for x, _, w in values(given))
    positives = sum(w * y for _, y, w in values(given))
    whole = max(predicted + (beta_square - 1) * positives, beta_square * predicted / 10)
    total = 0.0
    for x, y, w in values(given):
        target = y * (1 - smoothing) + smoothing / 2
        entropy = target * softplus(-x) + (1 - target) * softplus(x)
        total += w * (1.0 if y == 1 else predicted / whole) * entropy
    text = f"f1_reweighted_loss {{ f1_beta_square: {beta_square} label_smoothing: {smoothing} }}"
    wanted = total / sum(w for *_, w in values(given))
    assert mean(text, given) == pytest.approx(wanted, rel=1e-5)


def test_f1_stays_positive_and_finite_where_hardly_anything_is_predicted() -> None:
    given = rows(0.0)
    given = LossInputs(given.logits - 60.0, given.labels, given.weights, {}, {})
    given.logits.requires_grad_()
    [loss] = parts.losses("f1_reweighted_loss { f1_beta_square: 0.5 }").values()
    total, _ = loss.sums(given)
    [grad] = torch.autograd.grad(total, given.logits)
    assert 0 < float(total.detach()) < math.inf
    assert grad.isfinite().all()
    assert (grad[(given.labels == 0) & (given.weights > 0)] >= 0).all()


def test_gradients_of_f1_are_right() -> None:
    given = rows(1.0)
    [loss] = parts.losses("f1_reweighted_loss { f1_beta_square: 0.5625 }").values()
    leaf = given.logits.double().requires_grad_()

    def total(logits: torch.Tensor) -> torch.Tensor:
        return loss.sums(LossInputs(logits, given.labels.double(), given.weights, {}, {}))[0]

    assert torch.autograd.gradcheck(total, leaf)


@pytest.mark.parametrize("ratio", [0.3, 1.0])
@pytest.mark.parametrize("scale", [1.0, 200.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_without_alpha_has_both_classes_alike(
    ratio: float, scale: float, smoothing: float
) -> None:
    given, found = rows(scale), []
    for x, y, w in values(given):
        target = y * (1 - smoothing) + smoothing / 2
        entropy = target * softplus(-x) + (1 - target) * softplus(x)
        fade = math.exp(-2 * softplus(x if y else -x))
        found.append((fade * entropy, w))
    rest = target_weight = ratio * sum(w for _, w in found)
    total = 0.0
    for loss, weight in sorted(found, reverse=True):
        total += loss * min(weight, max(rest, 0.0))
        rest -= weight
    text = f"binary_focal_loss {{ use_alpha: false label_smoothing: {smoothing} "
    wanted = total / target_weight
    found_mean = mean(f"{text} ohem_ratio: {ratio} }}", given)
    assert found_mean == pytest.approx(wanted, rel=1e-5, abs=1e-30)


def test_equal_losses_at_the_bound_share_what_is_left() -> None:
    losses = torch.tensor([3.0, 1.0, 1.0, 0.0])
    kept = hardest(losses, torch.tensor([1.0, 1.0, 3.0, 3.0], dtype=torch.float64), 0.25)
    assert kept.tolist() == [1.0, 0.25, 0.25, 0.0]


def test_order_calibration_sums_what_exceeds_each_other_tower() -> None:
    given, source = rows(2.0), parts.generator(5)
    others = {name: torch.randn(30, generator=source) for name in ("ctr", "cart")}
    ones = torch.ones(30, dtype=torch.float64)
    [loss] = parts.losses('order_calibrate_loss { tower_names: ["ctr", "cart"] }').values()
    total, count = loss.sums(LossInputs(given.logits, given.labels, ones, {}, others))
    p = [[1 / (1 + math.exp(-x)) for x in t.tolist()] for t in (given.logits, *others.values())]
    wanted = sum(max(0.0, a - b) + max(0.0, a - c) for a, b, c in zip(*p, strict=True))
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    assert float(count) == 30
    assert (loss.others, loss.rows) == (("ctr", "cart"), "all")
