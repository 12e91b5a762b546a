"""Metrics of a threshold, against counts row by row and against torchmetrics.

The item of the seeds: S0.66, where "bacc" is binary accuracy; balanced accuracy stands beside it.
"""

import math
from collections.abc import Callable

import oracles
import parts
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import classification

from tzmmoe.errors import ConfigError

# By its words, of true and false positives, false and true negatives.
FORMULAS: dict[str, Callable[[int, int, int, int], float]] = {
    "binary_accuracy": lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn),
    "precision": lambda tp, fp, fn, tn: tp / (tp + fp),
    "recall": lambda tp, fp, fn, tn: tp / (tp + fn),
    "balanced_accuracy": lambda tp, fp, fn, tn: (tp / (tp + fn) + tn / (tn + fp)) / 2,
    "f1": lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn),
}
ALL = pytest.mark.parametrize("word", FORMULAS)

# Predictions that float32 holds exactly, at the thresholds among others, and labels.
ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.375, 0.5, 0.75, 1.0]), st.booleans()), max_size=12
)


def value(word: str, predictions: Tensor, labels: Tensor, threshold: float = 0.5) -> float:
    metric = parts.metric(f"{word} {{ threshold: {threshold} }}")
    metric.update(predictions, labels)
    return float(metric.compute())


def wanted(word: str, predictions: Tensor, labels: Tensor, threshold: float = 0.5) -> float:
    """NaN where the formula divides by 0."""
    counts = oracles.rows_by_side(predictions.numpy(), labels.numpy() > 0.5, threshold)
    try:
        return FORMULAS[word](*counts)
    except ZeroDivisionError:
        return math.nan


def clicks(num_rows: int, rate: float) -> tuple[Tensor, Tensor]:
    logits = 1.5 * parts.normal(num_rows) + math.log(rate / (1 - rate))
    labels = torch.rand(num_rows, generator=parts.generator(1)) < logits.sigmoid()
    return logits.sigmoid().float(), labels.float()


@ALL
@settings(deadline=None)
@given(ROWS, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
@example([], 0.5)
@example([(0.5, True), (0.5, False)], 0.5)
@example([(0.25, True), (0.25, True)], 0.5)
@example([(0.75, False), (0.75, False)], 0.5)
@example([(0.25, False), (0.25, False)], 0.5)
def test_a_metric_is_its_formula_of_the_counts_and_nan_where_that_divides_by_0(
    word: str, rows: list[tuple[float, bool]], threshold: float
) -> None:
    predictions = torch.tensor([p for p, _ in rows], dtype=torch.float32)
    labels = torch.tensor([float(y) for _, y in rows])
    found = value(word, predictions, labels, threshold)
    expected = wanted(word, predictions, labels, threshold)
    assert found == pytest.approx(expected, rel=1e-15, nan_ok=True)


@ALL
@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_200_000_rows_equal_the_count_of_each(word: str, rate: float) -> None:
    predictions, labels = clicks(200_000, rate)
    expected = wanted(word, predictions, labels, 0.1)
    assert 0 < expected < 1
    assert value(word, predictions, labels, 0.1) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("word", "theirs"),
    [
        ("binary_accuracy", classification.BinaryAccuracy),
        ("precision", classification.BinaryPrecision),
        ("recall", classification.BinaryRecall),
        ("f1", classification.BinaryF1Score),
    ],
)
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_what_torchmetrics_has_too_is_equal(word: str, theirs: type, threshold: float) -> None:
    predictions, labels = clicks(5000, 0.2)
    other = theirs(threshold=threshold)
    other.update(predictions, labels.int())
    found = value(word, predictions, labels, threshold)
    assert found == pytest.approx(float(other.compute()), rel=1e-6)


def test_balanced_accuracy_is_the_mean_of_the_recalls_of_both_classes() -> None:
    """And binary accuracy, the seed's bacc, is another number."""
    predictions, labels = clicks(5000, 0.1)
    recall = value("recall", predictions, labels)
    assert (predictions != 0.5).all()
    other = value("recall", 1 - predictions, 1 - labels)
    balanced = value("balanced_accuracy", predictions, labels)
    assert balanced == pytest.approx((recall + other) / 2, rel=1e-15)
    assert abs(balanced - value("binary_accuracy", predictions, labels)) > 0.1


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
def test_a_prediction_at_the_threshold_is_negative_and_the_next_number_positive(
    threshold: float,
) -> None:
    """In single precision, in which the predictions are."""
    at = torch.tensor([threshold])
    above = torch.nextafter(at, torch.tensor(2.0))
    for predictions, recall in ((at, 0.0), (above, 1.0), (at.bfloat16() / 2, 0.0)):
        assert value("recall", predictions, torch.ones(1), threshold) == recall


@ALL
def test_the_threshold_is_one_half_unless_it_is_set(word: str) -> None:
    predictions, labels = clicks(500, 0.4)
    metric = parts.metric(f"{word} {{}}")
    metric.update(predictions, labels)
    assert float(metric.compute()) == value(word, predictions, labels, 0.5)
    assert float(metric.compute()) != value(word, predictions, labels, 0.2)


@ALL
def test_a_label_above_one_half_is_positive(word: str) -> None:
    predictions, labels = clicks(500, 0.4)
    soft = 0.5 + 0.2 * (labels - 0.5)
    assert value(word, predictions, soft) == value(word, predictions, labels)


@ALL
def test_counts_beyond_32_bits_stay_exact(word: str) -> None:
    """2^33 rows with one click more, as many batches would leave them."""
    metric = parts.metric(f"{word} {{}}")
    counts = {"tp": 2**33 + 1, "fp": 2**33, "fn": 2**33, "tn": 2**33}
    for name, count in counts.items():
        getattr(metric, name).fill_(count)
    metric.update(torch.tensor([0.9]), torch.tensor([1.0]))
    expected = FORMULAS[word](2**33 + 2, 2**33, 2**33, 2**33)
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-15)
    assert metric.tp.item() == 2**33 + 2


@ALL
@pytest.mark.parametrize("threshold", [-0.1, 1.5, math.nan])
def test_a_threshold_that_no_probability_can_cross_is_refused(word: str, threshold: float) -> None:
    with pytest.raises(ConfigError) as error:
        parts.metric(f"{word} {{ threshold: {threshold} }}")
    assert [fault.path for fault in error.value.faults] == ["threshold"]


@ALL
def test_more_is_better_and_the_probability_of_the_second_class_comes_first(word: str) -> None:
    metric = parts.metric(f"{word} {{}}")
    assert metric.larger_is_better
    assert metric.consumes == ("probs1", "probs")
    assert not metric.several_classes
