"""What holds for every metric: how states merge, and where there is nothing to measure."""

import copy
import math
from collections.abc import Sequence

import parts
import pytest
import torch
from google.protobuf.descriptor import FieldDescriptor
from torch import Tensor

from tzmmoe.tasks.metrics import METRICS, Metric


def text_of(field: FieldDescriptor) -> str:
    """A metric with its defaults, and a column for each text that has none."""
    columns = [
        f'{each.name}: "g"'
        for each in field.message_type.fields
        if each.type == each.TYPE_STRING and not each.has_default_value
    ]
    return f"{field.name} {{ {' '.join(columns)} }}"


EXACT_AUC = "auc { thresholds: 0 }"
BINARY = [EXACT_AUC, *(text_of(f) for f in METRICS.schema.fields if f.name in METRICS)]
# Undefined where only one class occurs.
COMPARES = ("auc", "grouped_auc", "normalized_entropy", "balanced_accuracy")
ALL = pytest.mark.parametrize("text", BINARY)


def rows(num_rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, labels, groups."""
    predictions = parts.normal(num_rows, seed=seed).sigmoid().float()
    labels = (torch.rand(num_rows, generator=parts.generator(seed + 1)) < predictions).float()
    return predictions, labels, torch.arange(num_rows) % 5


def fed(text: str, batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Metric:
    metric = parts.metric(text)
    for predictions, labels, groups in batches:
        metric.update(predictions, labels, **dict.fromkeys(metric.columns, groups))
    return metric


def merged(shards: Sequence[Metric]) -> Metric:
    """As torchmetrics does between processes: each state stacked or joined, then reduced."""
    whole = copy.deepcopy(shards[0])
    for name, reduce in whole._reductions.items():
        states = [getattr(shard, name) for shard in shards]
        lists = isinstance(states[0], list)
        setattr(
            whole,
            name,
            reduce([torch.cat(state) for state in states] if lists else torch.stack(states)),
        )
    return whole


@ALL
@pytest.mark.parametrize("cuts", [[100], [1], [0], [299], [0, 0, 150, 151]])
def test_merged_states_of_shards_give_the_metric_of_all_rows(text: str, cuts: list[int]) -> None:
    """A shard may be of one row, or of none. Counts are whole numbers, so they agree exactly."""
    everything = rows(300)
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, 300], strict=True)]
    pieces = zip(*[column.split(sizes) for column in everything], strict=True)
    shards = [fed(text, [piece]) for piece in pieces]
    whole, together = fed(text, [everything]), merged(shards)
    assert float(together.compute()) == pytest.approx(float(whole.compute()), rel=1e-12)
    for name in whole._reductions:
        state = getattr(together, name)
        if not isinstance(state, list) and not state.is_floating_point():
            wanted = getattr(whole, name)
            wanted = torch.cat(wanted) if isinstance(wanted, list) else wanted
            assert torch.equal(state, wanted), name


@ALL
def test_batches_of_any_size_and_order_give_the_metric_of_all_rows(text: str) -> None:
    everything = rows(300)
    whole = float(fed(text, [everything]).compute())
    assert not math.isnan(whole)
    pieces = list(zip(*[column.split(7) for column in everything], strict=True))
    assert float(fed(text, pieces).compute()) == pytest.approx(whole, rel=1e-12)
    assert float(fed(text, pieces[::-1]).compute()) == pytest.approx(whole, rel=1e-12)


@ALL
def test_without_rows_a_metric_is_nan_without_a_warning(text: str) -> None:
    assert math.isnan(float(fed(text, [rows(0)]).compute()))
    assert math.isnan(float(fed(text, [rows(0), rows(0)]).compute()))


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("text", [t for t in BINARY if t.split()[0] in COMPARES])
def test_with_one_class_a_comparison_of_classes_is_nan(text: str, label: float) -> None:
    predictions, _, groups = rows(20)
    metric = fed(text, [(predictions, torch.full((20,), label), groups)])
    assert math.isnan(float(metric.compute()))


def test_without_events_calibration_is_nan() -> None:
    predictions, _, groups = rows(20)
    assert math.isnan(
        float(fed("calibration {}", [(predictions, torch.zeros(20), groups)]).compute())
    )


@ALL
def test_reset_forgets_all_rows(text: str) -> None:
    metric = fed(text, [rows(50, seed=5)])
    metric.compute()
    metric.reset()
    predictions, labels, groups = rows(300)
    metric.update(predictions, labels, **dict.fromkeys(metric.columns, groups))
    assert float(metric.compute()) == float(fed(text, [rows(300)]).compute())


@ALL
def test_sums_stay_double_whatever_the_precision_of_the_model(text: str) -> None:
    """Neither ``half`` of a module around nor ``set_dtype`` reaches them."""
    wanted = float(fed(text, [rows(300)]).compute())
    predictions, labels, groups = rows(300)
    for changed in (
        torch.nn.ModuleList([parts.metric(text)]).half()[0],
        parts.metric(text).set_dtype(torch.half),
    ):
        changed.update(predictions, labels, **dict.fromkeys(changed.columns, groups))
        assert float(changed.compute()) == wanted


@ALL
def test_predictions_of_lower_precision_are_taken(text: str) -> None:
    """As mixed precision gives them: the metric of the rounded predictions."""
    predictions, labels, groups = rows(300)
    low = predictions.bfloat16()
    found = fed(text, [(low, labels, groups)]).compute()
    assert float(found) == float(fed(text, [(low.float(), labels, groups)]).compute())
