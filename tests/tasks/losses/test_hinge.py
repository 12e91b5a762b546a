"""The loss of a margin against its formula (S0.63: hinge)."""

import math

import parts
import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.losses import LabelKind

HINGE = parts.losses("hinge_loss {}")["hinge_loss"]


@pytest.mark.parametrize("logit", [-200.0, -3.0, -1.0, 0.0, 0.25, 1.0, 3.0, 200.0])
@pytest.mark.parametrize("label", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hinge_is_what_lacks_to_a_margin_of_one(
    logit: float, label: float, dtype: torch.dtype
) -> None:
    """Every number here is exact in both precisions."""
    rows = HINGE.forward(torch.tensor([logit], dtype=dtype), torch.tensor([label], dtype=dtype))
    side = 2 * label - 1
    assert rows.item() == max(0.0, 1 - side * logit)


@pytest.mark.parametrize(
    ("logit", "label", "slope"),
    [(200, 1, 0), (2, 1, 0), (0.5, 1, -1), (-200, 1, -1), (-2, 0, 0), (0.5, 0, 1), (200, 0, 1)],
)
def test_rows_within_the_margin_pull_with_the_same_force_and_those_beyond_with_none(
    logit: float, label: float, slope: float
) -> None:
    logits = torch.tensor([float(logit)], requires_grad=True)
    [grad] = torch.autograd.grad(HINGE.forward(logits, torch.tensor([float(label)])), logits)
    assert grad.item() == slope


def test_gradients_equal_finite_differences() -> None:
    labels = torch.tensor([0, 1, 0.3, 1, 0], dtype=torch.float64)
    assert gradcheck(lambda x: HINGE.forward(x, labels), parts.normal(5).requires_grad_())


def test_changing_the_classes_changes_the_sign_of_the_logit() -> None:
    logits, labels = parts.normal(50), (parts.normal(50, seed=1) > 0).double()
    assert_close(HINGE.forward(-logits, 1 - labels), HINGE.forward(logits, labels))


def test_the_predictions_are_the_margin_and_its_sigmoid_and_labels_are_of_two_classes() -> None:
    logits = torch.tensor([-200.0, -3.0, 0.0, 3.0, 200.0], dtype=torch.float64)
    outputs = HINGE.predict(logits)
    assert list(outputs) == ["logits", "probs"]
    assert torch.equal(outputs["logits"], logits)
    wanted = [1 / (1 + math.exp(-logit)) for logit in logits.tolist()]
    assert outputs["probs"].tolist() == pytest.approx(wanted, rel=1e-12)
    assert HINGE.label_kind(1) == LabelKind(0, 1)
    with pytest.raises(ConfigError) as error:
        HINGE.label_kind(2)
    assert [fault.path for fault in error.value.faults] == ["num_class"]
