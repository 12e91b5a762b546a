"""Losses of numbers against their formulas, row by row (S0.63: mse, mae, huber, msle)."""

import math
from collections.abc import Callable

import parts
import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.losses import LabelKind, Loss


def huber(distance: float, delta: float) -> float:
    if abs(distance) <= delta:
        return distance * distance / 2
    return delta * abs(distance) - delta * delta / 2


def msle(logit: float, label: float) -> float:
    difference = math.log(1 + label) - math.log(1 + max(logit, 1e-7))
    return difference * difference


FORMULAS: dict[str, Callable[[float, float], float]] = {
    "l2_loss {}": lambda logit, label: (logit - label) * (logit - label),
    "l1_loss {}": lambda logit, label: abs(logit - label),
    "huber_loss {}": lambda logit, label: huber(logit - label, 1.0),
    "huber_loss { delta: 1e-3 }": lambda logit, label: huber(logit - label, 1e-3),
    "huber_loss { delta: 250 }": lambda logit, label: huber(logit - label, 250.0),
    "msle_loss {}": msle,
}
ALL = pytest.mark.parametrize("text", FORMULAS)


def loss(text: str) -> Loss:
    return next(iter(parts.losses(text).values()))


@ALL
@pytest.mark.parametrize("logit", [-200.0, -3.0, 0.0, 1e-7, 0.5, 3.0, 200.0])
@pytest.mark.parametrize("label", [-1e3, 0.0, 0.5, 1.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_loss_is_its_formula(text: str, logit: float, label: float, dtype: torch.dtype) -> None:
    label = max(label, loss(text).label_kind(1).low)
    rows = loss(text).forward(torch.tensor([logit], dtype=dtype), torch.tensor([label]).to(dtype))
    precision = 1e-12 if dtype == torch.float64 else 2e-6
    assert rows.item() == pytest.approx(FORMULAS[text](logit, label), rel=precision, abs=precision)


@pytest.mark.parametrize(
    ("text", "theirs"),
    [("l2_loss {}", "mse_loss"), ("l1_loss {}", "l1_loss"), ("huber_loss {}", "huber_loss")],
)
def test_the_mean_of_the_rows_is_torchs(text: str, theirs: str) -> None:
    logits, labels = 2 * parts.normal(100), parts.normal(100, seed=1)
    wanted = getattr(torch.nn.functional, theirs)(logits, labels)
    assert_close(loss(text).forward(logits, labels).mean(), wanted)


@pytest.mark.parametrize("delta", [0.1, 1.0, 30.0])
def test_huber_is_half_the_square_near_and_the_absolute_error_less_a_constant_far_off(
    delta: float,
) -> None:
    labels, steps = parts.normal(50, seed=1), torch.rand(50, generator=parts.generator(2))
    found = loss(f"huber_loss {{ delta: {delta} }}")
    near = labels + 0.999 * delta * (2 * steps - 1)
    assert_close(found.forward(near, labels), loss("l2_loss {}").forward(near, labels) / 2)
    far = labels + delta * (1.001 + 100 * steps)
    line = delta * loss("l1_loss {}").forward(far, labels) - delta**2 / 2
    assert_close(found.forward(far, labels), line)


def test_msle_is_the_squared_error_of_logarithms() -> None:
    """So that the ratio of 1 + prediction and 1 + label counts alone."""
    labels, logits = parts.normal(50).exp(), parts.normal(50, seed=1).exp()
    wanted = loss("l2_loss {}").forward((1 + logits).log(), (1 + labels).log())
    assert_close(loss("msle_loss {}").forward(logits, labels), wanted)
    scaled = loss("msle_loss {}").forward(7 * (1 + logits) - 1, 7 * (1 + labels) - 1)
    assert_close(scaled, wanted)


@ALL
def test_gradients_equal_finite_differences(text: str) -> None:
    labels = parts.normal(6, seed=1).abs()
    logits = (labels + 2 * parts.normal(6)).clamp(min=0.1).requires_grad_()
    assert gradcheck(lambda x: loss(text).forward(x, labels), logits)


@pytest.mark.parametrize("logit", [-200.0, -1.0, 0.0])
@pytest.mark.parametrize("label", [0.0, 1.0, 1e6])
def test_msle_of_a_logit_below_0_is_that_of_almost_0_and_has_no_gradient(
    logit: float, label: float
) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    rows = loss("msle_loss {}").forward(logits, torch.tensor([label]))
    [grad] = torch.autograd.grad(rows.sum(), logits)
    assert rows.item() == pytest.approx(math.log(1 + label) ** 2, rel=1e-5, abs=1e-12)
    assert grad.item() == 0


@ALL
def test_the_prediction_is_the_logit_and_labels_are_the_numbers_that_the_formula_takes(
    text: str,
) -> None:
    logits = parts.normal(5)
    assert list(loss(text).predict(logits)) == ["y"]
    assert torch.equal(loss(text).predict(logits)["y"], logits)
    wanted = LabelKind(low=0) if "msle" in text else LabelKind()
    assert loss(text).label_kind(1) == wanted
    with pytest.raises(ConfigError) as error:
        loss(text).label_kind(2)
    [fault] = error.value.faults
    assert fault.path == "num_class"
    assert text.split()[0] in fault.text


@pytest.mark.parametrize("delta", [0.0, -1.0, math.inf, math.nan])
def test_a_delta_that_is_no_distance_is_refused(delta: float) -> None:
    with pytest.raises(ConfigError) as error:
        loss(f"huber_loss {{ delta: {delta} }}")
    assert [fault.path for fault in error.value.faults] == ["delta"]
