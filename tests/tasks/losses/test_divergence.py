"""Kullback and Leibler's distance against its formula with 130 digits (S0.63: kld)."""

import oracles
import parts
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.tasks.losses import LabelKind

KLD = parts.losses("kld_loss {}")["kld_loss"]
BINARY = parts.losses("binary_cross_entropy {}")["binary_cross_entropy"]
SOFTMAX = parts.losses("softmax_cross_entropy {}")["softmax_cross_entropy"]
ROWS = [[0.0, 0.0, 0.0], [200.0, -200.0, 3.0], [-3.0, 3.0, 0.0], [1e-3, 0.0, -1e-3]]
SPREADS = [[0.2, 0.5, 0.3], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0], [1e-30, 1.0, 0.0]]


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("logit", [-200.0, -3.0, 0.0, 0.4, 3.0, 200.0])
@pytest.mark.parametrize("label", [0.0, 1e-30, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_of_one_logit_it_is_the_distance_of_two_shares(
    logit: float, label: float, dtype: torch.dtype
) -> None:
    rows = KLD.forward(torch.tensor([logit], dtype=dtype), torch.tensor([label], dtype=dtype))
    wanted = oracles.kullback_leibler([logit, 0.0], [label, 1 - label])
    precision = 1e-12 if dtype == torch.float64 else 1e-6
    assert rows.item() == pytest.approx(wanted, rel=precision, abs=precision)


@pytest.mark.parametrize("logits", ROWS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_of_several_logits_it_is_the_distance_of_distributions(
    logits: list[float], dtype: torch.dtype
) -> None:
    """A class is the distribution of 1 on it."""
    precision = 1e-12 if dtype == torch.float64 else 1e-6
    close = {"rel": precision, "abs": precision}
    row = torch.tensor([logits], dtype=dtype)
    for spread in SPREADS:
        found = KLD.forward(row, torch.tensor([spread], dtype=dtype)).item()
        assert found == pytest.approx(oracles.kullback_leibler(logits, spread), **close)
    for number in range(3):
        one_hot = [float(number == c) for c in range(3)]
        found = KLD.forward(row, torch.tensor([number], dtype=dtype)).item()
        assert found == pytest.approx(oracles.kullback_leibler(logits, one_hot), **close)


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_it_is_0_at_the_labels_and_above_elsewhere(logits: list[float]) -> None:
    row = numbers(*logits).unsqueeze(0)
    label = row.softmax(dim=1)
    assert KLD.forward(row, label).item() == pytest.approx(0, abs=1e-12)
    assert KLD.forward(row + numbers(0.1, 0, -0.1), label).item() > 1e-9
    one = row[:, 0]
    assert KLD.forward(one, one.sigmoid()).item() == pytest.approx(0, abs=1e-12)


def test_of_classes_it_is_the_cross_entropy_to_the_bit() -> None:
    logits = 50 * parts.normal(40, 3, dtype=torch.float32)
    classes = torch.randint(3, (40,), generator=parts.generator(1)).float()
    assert torch.equal(KLD.forward(logits, classes), SOFTMAX.forward(logits, classes))
    clicks = (classes > 0).float()
    one = logits[:, 0]
    assert torch.equal(KLD.forward(one, clicks), BINARY.forward(one, clicks))


@pytest.mark.parametrize("logit", [-200.0, -3.0, 0.0, 3.0, 200.0])
@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_its_gradient_is_prediction_less_label(
    logit: float, label: float, dtype: torch.dtype
) -> None:
    logits = torch.tensor([logit], dtype=dtype, requires_grad=True)
    [grad] = torch.autograd.grad(KLD.forward(logits, torch.tensor([label], dtype=dtype)), logits)
    assert_close(grad, logits.detach().sigmoid() - label)
    row = torch.tensor([[logit, 0.0, 3.0]], dtype=dtype, requires_grad=True)
    spread = torch.tensor([[label, 1 - label, 0.0]], dtype=dtype)
    [grad] = torch.autograd.grad(KLD.forward(row, spread), row)
    assert_close(grad, row.detach().softmax(dim=1) - spread)


def test_gradients_equal_finite_differences() -> None:
    labels = numbers(0, 1, 0.3, 1)
    assert gradcheck(lambda x: KLD.forward(x, labels), parts.normal(4).requires_grad_())
    logits = parts.normal(4, 3).requires_grad_()
    classes, spread = numbers(0, 2, 1, 1), parts.normal(4, 3, seed=1).softmax(dim=1)
    assert gradcheck(lambda x: KLD.forward(x, classes), logits)
    assert gradcheck(lambda x: KLD.forward(x, spread), logits)


def test_of_two_logits_it_is_that_of_their_difference() -> None:
    logits, share = 5 * parts.normal(50, 2), parts.normal(50, seed=1).sigmoid()
    spread = torch.stack([1 - share, share], dim=1)
    difference = logits[:, 1] - logits[:, 0]
    assert_close(KLD.forward(logits, spread), KLD.forward(difference, share))
    assert_close(KLD.predict(logits)["probs1"], KLD.predict(difference)["probs"])


@pytest.mark.parametrize("num_class", [1, 2, 5])
def test_outputs_labels_and_link_are_those_of_the_cross_entropies(num_class: int) -> None:
    entropy = BINARY if num_class == 1 else SOFTMAX
    logits = parts.normal(6, num_class)
    logits = logits.squeeze(1) if num_class == 1 else logits
    wanted = entropy.predict(logits)
    found = KLD.predict(logits)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    kind = LabelKind(0, 1) if num_class == 1 else LabelKind(0, num_class - 1, num_class)
    assert KLD.label_kind(num_class) == kind
    assert KLD.link(num_class) == ("sigmoid" if num_class == 1 else "softmax")


def test_without_logits_there_is_no_distance() -> None:
    with pytest.raises(ConfigError) as error:
        KLD.label_kind(0)
    assert [fault.path for fault in error.value.faults] == ["num_class"]
