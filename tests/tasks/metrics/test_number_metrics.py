"""Metrics that are a sum over rows, against loops in float64."""

import math

import numpy as np
import oracles
import parts
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tzmmoe.errors import ConfigError

SIZES = [1, 7, 5000]


def value(text: str, predictions: Tensor, labels: Tensor) -> float:
    metric = parts.metric(text)
    metric.update(predictions, labels)
    return float(metric.compute())


def rows(num_rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities in float32 and labels, both classes among them from two rows on."""
    predictions = parts.normal(num_rows, seed=seed).sigmoid().float()
    labels = (torch.rand(num_rows, generator=parts.generator(seed + 1)) < predictions).float()
    labels[:2] = torch.tensor([1.0, 0.0])[: len(labels)]
    return predictions, labels


@pytest.mark.parametrize("num_rows", SIZES)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_accuracy_of_one_probability_counts_rows_on_the_right_side(
    num_rows: int, threshold: float
) -> None:
    predictions, labels = rows(num_rows)
    right = sum(
        (p >= threshold) == (y == 1)
        for p, y in zip(predictions.tolist(), labels.tolist(), strict=True)
    )
    found = value(f"accuracy {{ threshold: {threshold} }}", predictions, labels)
    assert found == right / num_rows


def test_accuracy_counts_a_probability_at_the_threshold_as_positive() -> None:
    assert value("accuracy {}", torch.tensor([0.5]), torch.tensor([1.0])) == 1.0
    assert value("accuracy {}", torch.tensor([0.5]), torch.tensor([0.0])) == 0.0


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_accuracy_of_classes_equals_a_loop(top_k: int, num_classes: int) -> None:
    """For labels that are classes, and for distributions by their largest."""
    predictions = parts.normal(300, num_classes).softmax(dim=1).float()
    labels = torch.randint(num_classes, (300,), generator=parts.generator(1))
    wanted = oracles.accuracy(predictions.numpy(), labels.numpy(), top_k)
    assert 0 < wanted < 1 or top_k >= num_classes
    text = f"accuracy {{ top_k: {top_k} }}"
    assert value(text, predictions, labels.float()) == wanted
    spread = 0.7 * torch.nn.functional.one_hot(labels, num_classes) + 0.3 / num_classes
    assert value(text, predictions, spread) == wanted


@pytest.mark.parametrize("num_rows", SIZES)
@pytest.mark.parametrize("eta", [1e-12, 1e-3])
def test_logloss_equals_a_loop(num_rows: int, eta: float) -> None:
    predictions, labels = rows(num_rows)
    predictions[:3] = torch.tensor([0.0, 1.0, 1e-8])[:num_rows]
    wanted = oracles.log_loss(predictions.double().numpy(), labels.numpy(), eta)
    assert value(f"logloss {{ eta: {eta} }}", predictions, labels) == pytest.approx(wanted)


def test_logloss_of_a_wrong_certainty_is_the_logarithm_of_eta() -> None:
    wrong = value("logloss { eta: 1e-6 }", torch.tensor([1.0]), torch.tensor([0.0]))
    assert wrong == pytest.approx(-math.log(1e-6))


@pytest.mark.parametrize("num_rows", [2, 7, 5000])
def test_normalized_entropy_equals_a_loop(num_rows: int) -> None:
    predictions, labels = rows(num_rows)
    wanted = oracles.normalized_entropy(predictions.double().numpy(), labels.numpy(), 1e-12)
    assert value("normalized_entropy {}", predictions, labels) == pytest.approx(wanted)


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 500))
def test_normalized_entropy_of_the_base_rate_is_one(positives: int, negatives: int) -> None:
    labels = torch.tensor([1.0] * positives + [0.0] * negatives)
    constant = torch.full_like(labels, positives / len(labels), dtype=torch.float64)
    assert value("normalized_entropy {}", constant, labels) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_normalized_entropy_of_one_class_is_not_defined(label: float) -> None:
    """Its base rate has no entropy to compare with."""
    labels = torch.full((9,), label)
    assert math.isnan(value("normalized_entropy {}", torch.full((9,), 0.3), labels))


@pytest.mark.parametrize("num_rows", SIZES)
def test_errors_equal_numpy(num_rows: int) -> None:
    predictions, labels = parts.normal(num_rows).float(), parts.normal(num_rows, seed=1).float()
    error = predictions.double().numpy() - labels.double().numpy()
    mae, mse = np.abs(error).mean(), (error**2).mean()
    assert value("mean_absolute_error {}", predictions, labels) == pytest.approx(mae, rel=1e-12)
    assert value("mean_squared_error {}", predictions, labels) == pytest.approx(mse, rel=1e-12)
    rmse = value("root_mean_squared_error {}", predictions, labels)
    assert rmse == pytest.approx(math.sqrt(mse), rel=1e-12)


def test_sums_keep_small_errors_beside_large_ones() -> None:
    """10^6 rows with an error of 1 after one of 10^8: single precision would lose them."""
    metric = parts.metric("mean_absolute_error {}")
    metric.update(torch.tensor([1e8]), torch.tensor([0.0]))
    for _ in range(10):
        metric.update(torch.ones(100_000), torch.zeros(100_000))
    assert float(metric.compute()) == (1e8 + 1e6) / (1e6 + 1)


@pytest.mark.parametrize("num_rows", SIZES)
def test_calibration_is_the_sum_of_predictions_over_that_of_labels(num_rows: int) -> None:
    predictions, labels = rows(num_rows)
    wanted = sum(predictions.tolist()) / sum(labels.tolist())
    assert value("calibration {}", predictions, labels) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("accuracy { top_k: 0 }", "top_k"),
        ("logloss { eta: 0 }", "eta"),
        ("logloss { eta: nan }", "eta"),
        ("normalized_entropy { eta: 0.5 }", "eta"),
    ],
)
def test_a_bad_setting_is_named(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as error:
        parts.metric(text)
    assert [fault.path for fault in error.value.faults] == [path]
