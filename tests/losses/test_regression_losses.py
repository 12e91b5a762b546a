"""The squared error."""

import parts
import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.losses import LabelKind

LOSS = parts.losses("l2_loss {}")["l2_loss"]


@pytest.mark.parametrize("logit", [-200.0, -3.0, 0.0, 3.0, 200.0])
@pytest.mark.parametrize("label", [-1e3, 0.0, 0.5, 1e6])
def test_l2_loss_is_the_squared_difference(logit: float, label: float) -> None:
    logits = torch.tensor([logit], dtype=torch.float64)
    labels = torch.tensor([label], dtype=torch.float64)
    assert LOSS.forward(logits, labels).item() == (logit - label) * (logit - label)


def test_l2_loss_of_each_row_adds_up_to_torchs() -> None:
    logits, labels = parts.normal(100), parts.normal(100, seed=1)
    wanted = torch.nn.functional.mse_loss(logits, labels)
    assert_close(LOSS.forward(logits, labels).mean(), wanted)


def test_gradients_equal_finite_differences() -> None:
    labels = parts.normal(4, seed=1)
    assert gradcheck(lambda x: LOSS.forward(x, labels), parts.normal(4).requires_grad_())


def test_its_prediction_is_the_logit_and_its_labels_are_any_numbers() -> None:
    logits = parts.normal(5)
    assert list(LOSS.predict(logits)) == ["y"]
    assert torch.equal(LOSS.predict(logits)["y"], logits)
    assert LOSS.label_kind(1) == LabelKind()
    with pytest.raises(ConfigError) as error:
        LOSS.label_kind(2)
    assert [fault.path for fault in error.value.faults] == ["num_class"]
