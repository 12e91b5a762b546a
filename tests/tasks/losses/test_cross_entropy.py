"""Cross entropies against their formulas with 130 digits."""

import math

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
from tzmmoe.tasks.losses import LabelKind, Loss

LOGITS = [-200.0, -3.0, 0.0, 3.0, 200.0]
SMOOTHINGS = [0.0, 0.1, 0.9]


def loss(word: str, smoothing: float = 0.0) -> Loss:
    return parts.losses(f"{word} {{ label_smoothing: {smoothing} }}")[word]


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_binary_cross_entropy_equals_its_formula(
    logit: float, label: float, smoothing: float, dtype: torch.dtype
) -> None:
    """-y log p - (1 - y) log(1 - p) with y (1 - e) + e / 2 for y, also where p rounds to 1."""
    rows = loss("binary_cross_entropy", smoothing).forward(
        torch.tensor([logit], dtype=dtype), torch.tensor([label], dtype=dtype)
    )
    wanted = oracles.binary_cross_entropy(logit, label, smoothing)
    precision = 1e-12 if dtype == torch.float64 else 1e-6
    assert_close(rows.double(), numbers(wanted), rtol=precision, atol=precision)


@settings(deadline=None)
@given(st.floats(-300, 300), st.floats(0, 1), st.sampled_from(SMOOTHINGS))
def test_the_gradient_of_binary_cross_entropy_is_prediction_less_label(
    logit: float, label: float, smoothing: float
) -> None:
    bce = loss("binary_cross_entropy", smoothing)
    logits = numbers(logit).requires_grad_()
    [grad] = torch.autograd.grad(bce.forward(logits, numbers(label)).sum(), logits)
    target = label * (1 - smoothing) + smoothing / 2
    assert_close(grad, bce.predict(logits)["probs"].detach() - target, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("logit", LOGITS)
def test_the_prediction_of_binary_cross_entropy_is_the_sigmoid(logit: float) -> None:
    outputs = loss("binary_cross_entropy").predict(numbers(logit))
    assert list(outputs) == ["logits", "probs"]
    assert outputs["logits"].item() == logit
    assert_close(outputs["probs"], numbers(1 / (1 + math.exp(-logit))), rtol=1e-12, atol=0)


@pytest.mark.parametrize("logits", [[0, 0, 0], [200, -200, 3], [-3, 3, 0], [1e-3, 0, -1e-3]])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_softmax_cross_entropy_equals_its_formula_for_every_class_and_a_distribution(
    logits: list[float], smoothing: float
) -> None:
    """-sum y log softmax with y (1 - e) + e / C for y; a class is the distribution of 1 on it."""
    softmax = loss("softmax_cross_entropy", smoothing)
    row = numbers(*logits).unsqueeze(0)
    for number in range(3):
        one_hot = [float(number == c) for c in range(3)]
        wanted = numbers(oracles.softmax_cross_entropy(logits, one_hot, smoothing))
        assert_close(softmax.forward(row, numbers(number)), wanted)
        assert_close(softmax.forward(row, numbers(*one_hot).unsqueeze(0)), wanted)
    spread = [0.2, 0.5, 0.3]
    wanted = numbers(oracles.softmax_cross_entropy(logits, spread, smoothing))
    assert_close(softmax.forward(row, numbers(*spread).unsqueeze(0)), wanted)


def test_softmax_of_two_classes_is_binary_cross_entropy_of_their_difference() -> None:
    logits, labels = 5 * parts.normal(50, 2), (parts.normal(50, seed=1) > 0).double()
    softmax, binary = loss("softmax_cross_entropy", 0.1), loss("binary_cross_entropy", 0.1)
    difference = logits[:, 1] - logits[:, 0]
    assert_close(softmax.forward(logits, labels), binary.forward(difference, labels))
    assert_close(softmax.predict(logits)["probs1"], binary.predict(difference)["probs"])


def test_the_prediction_of_softmax_is_a_distribution_that_no_shift_changes() -> None:
    softmax, logits = loss("softmax_cross_entropy"), 100 * parts.normal(20, 3)
    outputs = softmax.predict(logits)
    assert list(outputs) == ["logits", "probs"]
    powers = (logits - logits.max(dim=1, keepdim=True).values).exp()
    assert_close(outputs["probs"], powers / powers.sum(dim=1, keepdim=True))
    assert_close(softmax.predict(logits + 7)["probs"], outputs["probs"])


def test_two_classes_have_the_probability_of_the_second_as_an_output_too() -> None:
    outputs = loss("softmax_cross_entropy").predict(parts.normal(20, 2))
    assert list(outputs) == ["logits", "probs", "probs1"]
    assert torch.equal(outputs["probs1"], outputs["probs"][:, 1])


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_gradients_equal_finite_differences(smoothing: float) -> None:
    binary, softmax = (
        loss("binary_cross_entropy", smoothing),
        loss("softmax_cross_entropy", smoothing),
    )
    labels = numbers(0, 1, 0.3, 1)
    assert gradcheck(lambda x: binary.forward(x, labels), parts.normal(4).requires_grad_())
    logits = parts.normal(4, 3).requires_grad_()
    classes, spread = numbers(0, 2, 1, 1), parts.normal(4, 3, seed=1).softmax(dim=1)
    assert gradcheck(lambda x: softmax.forward(x, classes), logits)
    assert gradcheck(lambda x: softmax.forward(x, spread), logits)


@pytest.mark.parametrize("word", ["binary_cross_entropy", "softmax_cross_entropy"])
@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_label_smoothing_outside_0_to_1_is_refused(word: str, smoothing: float) -> None:
    with pytest.raises(ConfigError) as error:
        loss(word, smoothing)
    assert [fault.path for fault in error.value.faults] == ["label_smoothing"]


def test_each_loss_says_which_labels_and_how_many_logits_it_takes() -> None:
    binary, softmax = loss("binary_cross_entropy"), loss("softmax_cross_entropy")
    assert binary.label_kind(1) == LabelKind(0, 1)
    assert softmax.label_kind(3) == LabelKind(0, 2, num_classes=3)
    for wrong, num_class in ((binary, 2), (softmax, 1)):
        with pytest.raises(ConfigError) as error:
            wrong.label_kind(num_class)
        assert [fault.path for fault in error.value.faults] == ["num_class"]
