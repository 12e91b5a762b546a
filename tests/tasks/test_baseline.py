"""Baselines against numpy in float64, and what the table of results makes of them."""

import math
from collections.abc import Iterator

import numpy as np
import parts
import pytest
import torch
from ranks import Ranks, ranks
from torch import Tensor

from tzmmoe.run.results import baselines, results_table
from tzmmoe.system.world import World
from tzmmoe.tasks.baseline import LabelSpread
from tzmmoe.tasks.task import TaskSpace
from tzmmoe.tasks.taskset import TaskSet


def fed(predictions: Tensor, labels: Tensor, batch: int = 7) -> LabelSpread:
    metric = LabelSpread()
    for part, wanted in zip(predictions.split(batch), labels.split(batch), strict=True):
        metric.update(part, wanted)
    return metric


def regression(num_rows: int, center: float, spread: float) -> tuple[Tensor, Tensor]:
    labels = center + spread * parts.normal(num_rows)
    return labels + 0.3 * spread * parts.normal(num_rows, seed=1), labels


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize(("center", "spread"), [(0.0, 1.0), (1.7e9, 10.0), (-3e-9, 1e-12)])
def test_regression_equals_numpy_however_far_labels_are_from_0(center, spread, batch) -> None:
    predictions, labels = regression(500, center, spread)
    found = fed(predictions, labels, batch).compute()
    p, y = predictions.numpy(), labels.numpy()
    variance = np.mean((y - y.mean()) ** 2)
    assert found["base_mse"] == pytest.approx(variance, rel=1e-6)
    assert found["base_rmse"] == pytest.approx(math.sqrt(variance), rel=1e-6)
    assert found["r2"] == pytest.approx(1 - np.mean((p - y) ** 2) / variance, rel=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.0008, 0.5, 1.0])
def test_the_base_logloss_is_that_of_predicting_the_mean_label(rate) -> None:
    labels = (torch.arange(5000) < 5000 * rate).double()
    p = float(labels.mean())
    by_hand = -sum(math.log(p) if y else math.log(1 - p) for y in labels.tolist()) / 5000
    assert fed(labels, labels).compute()["base_logloss"] == pytest.approx(by_hand, abs=1e-12)


def test_predicting_the_mean_has_r2_0_and_the_labels_themselves_1() -> None:
    _, labels = regression(300, 5.0, 2.0)
    mean = torch.full_like(labels, float(labels.mean()))
    assert fed(mean, labels).compute()["r2"] == pytest.approx(0, abs=1e-12)
    assert fed(labels, labels).compute()["r2"] == 1


@pytest.mark.parametrize("name", ["base_logloss", "base_mse", "base_rmse", "r2"])
def test_without_rows_nothing_is_defined(name) -> None:
    metric = LabelSpread()
    metric.update(torch.zeros(0), torch.zeros(0))
    assert math.isnan(metric.compute()[name])


def test_r2_of_equal_labels_is_undefined() -> None:
    assert math.isnan(fed(torch.rand(9), torch.full((9,), 3.0)).compute()["r2"])


@pytest.fixture(scope="module")
def processes() -> Iterator[Ranks]:
    with ranks(2) as made:
        yield made


def of_part(world: World, first: int) -> dict[str, float]:
    """Of ``first`` rows in the first process, and the rest in the second."""
    mine = [column.split([first, 400 - first])[world.rank] for column in regression(400, 1e6, 3.0)]
    metric = fed(*mine)
    with metric.sync_context():
        return metric.compute()


@pytest.mark.parametrize("first", [0, 1, 200])
def test_several_processes_have_the_baseline_of_all_rows(processes: Ranks, first: int) -> None:
    found = processes.run(of_part, first)
    assert found[0] == found[1]
    assert found[0] == pytest.approx(fed(*regression(400, 1e6, 3.0)).compute(), rel=1e-9)


def table(tasks: TaskSet, rows: dict[str, Tensor], logits: dict[str, Tensor]) -> list[list[str]]:
    tasks.update(tasks.predict(logits), parts.batch(rows))
    lines = results_table(tasks, tasks.compute(), baselines(tasks)).splitlines()
    return [line.split() for line in lines]


def test_binary_tasks_show_the_base_logloss_and_regression_the_mean_and_r2() -> None:
    click, price = torch.tensor([1.0, 0, 0, 0]), torch.tensor([1.0, 2, 3, math.nan])
    tasks = TaskSet(
        [
            parts.task("click", metric=["logloss {}"]),
            parts.task("price", loss=["l2_loss {}"], metric=["mean_squared_error {}"]),
            parts.task("size", loss=["l2_loss {}"], metric=["root_mean_squared_error {}"]),
            parts.task("kind", loss=["softmax_cross_entropy {}"], metric=[], num_class=3),
        ]
    )
    logits = {
        "click": torch.zeros(4),
        "price": torch.tensor([1.0, 2, 4, 9]),
        "size": torch.zeros(4),
        "kind": torch.zeros(4, 3),
    }
    rows = {"click": click, "price": price, "size": price, "kind": click}
    head, of_click, of_price, of_size, of_kind = table(tasks, rows, logits)
    assert head[-4:] == ["base_logloss", "base_mse", "base_rmse", "r2"]
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert float(of_click[-1]) == pytest.approx(entropy, abs=1e-5)
    assert [float(cell) for cell in of_price[-2:]] == pytest.approx([2 / 3, 0.5], abs=1e-5)
    of_zeros = 1 - (1 + 4 + 9) / 2
    assert [float(cell) for cell in of_size[-2:]] == pytest.approx(
        [math.sqrt(2 / 3), of_zeros], abs=1e-5
    )
    assert of_kind == ["kind"]
    assert set(baselines(tasks)) == {
        "base_logloss_click", "base_mse_price", "r2_price", "base_rmse_size", "r2_size"
    }  # fmt: skip
    assert not baselines(tasks).keys() & tasks.larger_is_better().keys()


@pytest.mark.parametrize(("outside", "rate"), [(0.0, 3 / 4), (0.5, 3 / 8)])
def test_rows_outside_a_space_count_where_the_loss_counts_them(outside, rate) -> None:
    """Half of the rows are in the space, with three of the four labels of 1."""
    click = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])
    buy = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0])
    space = TaskSpace("click", 1.0, outside)
    tasks = TaskSet([parts.task("buy", metric=["logloss {}"], space=space)])
    tasks.update(tasks.predict({"buy": torch.zeros(8)}), parts.batch({"click": click, "buy": buy}))
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert baselines(tasks)["base_logloss_buy"] == pytest.approx(entropy, abs=1e-6)


def test_a_task_of_weight_0_has_no_row_but_a_word_on_why() -> None:
    tasks = TaskSet(
        [
            parts.task("click", metric=["auc {}"]),
            parts.task("buy", metric=["auc {}", "logloss {}"], weight=0.0),
        ]
    )
    labels = torch.tensor([1.0, 0.0])
    rows = {"click": labels, "buy": labels}
    head, click, last = table(tasks, rows, {"click": labels, "buy": labels})
    assert head == ["task", "auc", "base_logloss"]
    assert click[0] == "click"
    assert {"weight", "0:", "buy"} <= set(last)
    assert "logloss_buy" in tasks.compute(), "programs still read its results"
