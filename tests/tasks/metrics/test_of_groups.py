"""AUC of users and sessions, the largest F1, and recall of the best, against loops."""

import math

import parts
import pytest
import torch

from tzmmoe.errors import ConfigError


def auc(rows: list[tuple[float, float]]) -> float:
    """Of predictions and labels, by all pairs."""
    pairs = [(p, q) for p, y in rows if y for q, z in rows if not z]
    return sum((p > q) + (p == q) / 2 for p, q in pairs) / len(pairs) if pairs else math.nan


WEIGHTS = {
    "mean": lambda rows: 1,
    "mean_by_sample_num": len,
    "mean_by_positive_num": lambda rows: sum(y for _, y in rows),
}


@pytest.mark.parametrize("reduction", WEIGHTS)
@pytest.mark.parametrize("word", ['gauc { uid_field: "u"', 'session_auc { session_id_field: "u"'])
def test_a_mean_over_groups_weighs_them_as_it_says(word: str, reduction: str) -> None:
    source = parts.generator(4)
    predictions = torch.randint(0, 9, (300,), generator=source) / 8
    labels = (torch.rand(300, generator=source) < 0.3).float()
    groups = torch.randint(-3, 40, (300,), generator=source) ** 3
    metric = parts.metric(f'{word} reduction: "{reduction}" }}')
    for part in torch.arange(300).split(70):
        metric.update(predictions[part], labels[part], u=groups[part])
    by_group: dict[int, list[tuple[float, float]]] = {}
    for p, y, g in zip(predictions.tolist(), labels.tolist(), groups.tolist(), strict=True):
        by_group.setdefault(g, []).append((p, y))
    found = [(auc(rows), WEIGHTS[reduction](rows)) for rows in by_group.values()]
    found = [(area, weight) for area, weight in found if not math.isnan(area)]
    assert 0 < len(found) < len(by_group)
    wanted = sum(area * weight for area, weight in found) / sum(weight for _, weight in found)
    assert float(metric.compute()) == pytest.approx(wanted, rel=1e-12)


def test_an_unknown_reduction_and_a_missing_column_are_refused() -> None:
    with pytest.raises(ConfigError, match="reduction: is 'sum'; give one of mean, mean_by"):
        parts.metric('gauc { uid_field: "u" reduction: "sum" }')
    with pytest.raises(ConfigError, match="session_id_field: is not set; name the column"):
        parts.metric("session_auc {}")


@pytest.mark.parametrize("thresholds", [1, 2, 5, 200])
def test_the_largest_f1_equals_a_loop_over_thresholds(thresholds: int) -> None:
    """Among the predictions are 0, 1, and thresholds themselves."""
    source = parts.generator(6)
    predictions = torch.cat([torch.rand(200, generator=source), torch.arange(5) / 4])
    labels = (torch.rand(205, generator=source) < predictions).float()
    metric = parts.metric(f"max_f1 {{ thresholds: {thresholds} }}")
    metric.update(predictions[:90], labels[:90])
    metric.update(predictions[90:], labels[90:])
    rows = list(zip(predictions.double().tolist(), labels.tolist(), strict=True))
    inner = [k / (thresholds - 1) for k in range(1, thresholds - 1)]
    best = 0.0
    for threshold in [-1.0, *inner]:
        tp = sum(p > threshold and y == 1 for p, y in rows)
        wrong = sum((p > threshold) != (y == 1) for p, y in rows)
        best = max(best, 2 * tp / (2 * tp + wrong))
    assert float(metric.compute()) == pytest.approx(best, rel=1e-12)


def test_without_positives_the_largest_f1_is_undefined() -> None:
    metric = parts.metric("max_f1 {}")
    metric.update(torch.rand(5), torch.zeros(5))
    assert math.isnan(float(metric.compute()))


def test_recall_of_the_best_counts_classes_among_them() -> None:
    probs = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.1, 0.3]])
    metric = parts.metric("recall_at_topk { topk: 2 }")
    metric.update(probs, torch.tensor([1.0, 0.0, 2.0]))
    assert float(metric.compute()) == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match="topk: is 0; give 1 or more"):
        parts.metric("recall_at_topk { topk: 0 }")
