"""Losses, metrics and averages of members, against each member by itself."""

import math

import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Batch
from tzmmoe.tasks.members import MemberMetrics, named_sums
from tzmmoe.tasks.task import TaskSpace
from tzmmoe.tasks.taskset import TaskSet

K, ROWS = 4, 60
# Of one logit and labels of 0 and 1, alone or beside another loss.
BINARY = [
    ["binary_cross_entropy { label_smoothing: 0.1 }"],
    ["binary_focal_loss {}"],
    ["pairwise_logistic_loss {}"],
    ['pairwise_logistic_loss { session_name: "user" }', "binary_cross_entropy {}"],
    ["pairwise_focal_loss {}"],
    ["pairwise_hinge_loss {}"],
    ["f1_reweighted_loss {}"],
    ["hinge_loss {}"],
    ['order_calibrate_loss { tower_names: "cvr" }', "binary_cross_entropy {}"],
]
NUMBERS = [["l2_loss {}"], ["l1_loss {}"], ["sigmoid_l2_loss {}"]]
CLASSES = [["softmax_cross_entropy {}"], ['jrc_loss { session_name: "user" }']]


def columns() -> dict[str, Tensor]:
    return parts.impressions(ROWS)[1]


def members(num_class: int = 1, seed: int = 0) -> Tensor:
    shape = (ROWS, K) if num_class == 1 else (ROWS, K, num_class)
    return 2 * torch.randn(shape, generator=parts.generator(seed))


def two_tasks(losses: list[str], num_class: int = 1) -> tuple[TaskSet, dict[str, Tensor], Batch]:
    """ctr with these losses, and cvr, whose label is missing in places."""
    space = TaskSpace("click", 1.0, 0.5)
    ctr = parts.task(
        *("ctr",), label="click", loss=losses, num_class=num_class, sample_weight="weight"
    )
    cvr = parts.task("cvr", label="buy", metric=["auc {}"], space=space)
    logits = {"ctr": members(num_class), "cvr": members(seed=1)}
    return TaskSet([ctr, cvr]), logits, parts.batch(columns())


CASES = [(losses, 1) for losses in BINARY + NUMBERS] + [(losses, 2) for losses in CLASSES]


@pytest.mark.parametrize(("losses", "num_class"), CASES)
def test_a_loss_of_members_is_the_mean_of_that_of_each(losses, num_class) -> None:
    tasks, logits, batch = two_tasks(losses, num_class)
    found = tasks.losses(logits, batch)
    each = [
        tasks.losses({name: part[:, m] for name, part in logits.items()}, batch) for m in range(K)
    ]
    assert set(found) == set(tasks.loss_keys())
    for key, value in found.items():
        assert_close(value, sum(own[key] for own in each) / K, atol=1e-6, rtol=1e-5)
        assert len({float(own[key]) for own in each}) == K


@pytest.mark.parametrize(("losses", "num_class"), CASES)
def test_the_average_predicts_the_mean_of_what_members_predict(losses, num_class) -> None:
    tasks, logits, _ = two_tasks(losses, num_class)
    found = tasks.predict(logits)
    each = [tasks.predict({name: part[:, m] for name, part in logits.items()}) for m in range(K)]
    assert set(found) == set(each[0])
    for name in set(found) - {"logits_ctr", "logits_cvr"}:
        wanted = sum(own[name].double() for own in each) / K
        assert_close(found[name].double(), wanted, atol=1e-6, rtol=1e-5)


def test_an_activated_number_is_that_of_the_mean_logit() -> None:
    task = parts.task("price", loss=["l2_loss {}"], activation="relu")
    tasks, logits = TaskSet([task]), members()
    assert_close(tasks.predict({"price": logits})["y_price"], logits.mean(1).relu())


def test_metrics_of_members_are_means_of_each_ones_own() -> None:
    space = TaskSpace("click", 1.0, 0.0)
    metrics = ["auc {}", "logloss {}"]
    tasks = TaskSet([parts.task("cvr", label="buy", metric=metrics, space=space)])
    logits, batch = {"cvr": members()}, parts.batch(columns())
    measured = MemberMetrics(tasks, K, torch.device("cpu"))
    for rows in (slice(0, 25), slice(25, ROWS)):
        part = parts.batch({name: column[rows] for name, column in batch.columns.items()})
        measured.update({"cvr": logits["cvr"][rows]}, part)
    found = measured.compute()
    assert set(found) == {
        f"{word}_cvr{space}_members" for word in ("auc", "logloss") for space in ("", "_in_space")
    }
    totals = dict.fromkeys(found, 0.0)
    for m in range(K):
        alone = tasks.separate()
        alone.update(alone.predict({"cvr": logits["cvr"][:, m]}), batch)
        for key, value in alone.compute().items():
            totals[f"{key}_members"] += value / K
    assert found == pytest.approx(totals, abs=1e-6)


def test_a_single_network_has_no_results_of_members() -> None:
    tasks, logits, batch = two_tasks(["binary_cross_entropy {}"])
    single = {name: part[:, 0] for name, part in logits.items()}
    measured = MemberMetrics(tasks, 1, torch.device("cpu"))
    measured.update(single, batch)
    assert measured.compute() == {}
    names = [name for name, _ in named_sums(tasks, single, batch, members=1)]
    assert names == [(key, "") for key in tasks.loss_keys()]
    assert tasks.averaged(single)["ctr"] is single["ctr"]


def test_the_average_of_a_convex_loss_is_at_most_the_members_mean() -> None:
    """Of cross entropy, in probabilities: Jensen's inequality, strict where members differ."""
    tasks, logits, batch = two_tasks(["binary_cross_entropy {}"])
    sums = {name: float(a / b) for name, (a, b) in named_sums(tasks, logits, batch, members=K)}
    for key in tasks.loss_keys():
        assert sums[key, ""] < sums[key, "_members"] < math.inf


def test_a_batch_counts_once_for_a_loss_that_compares_rows() -> None:
    """Not once for each member, nor again for their average."""
    tasks, logits, batch = two_tasks(["pairwise_logistic_loss {}"])
    loss = tasks.tasks[0].losses["pairwise_logistic_loss"]
    tasks.losses(logits, batch)
    assert loss.tally[0] == 1
    list(named_sums(tasks, logits, batch, members=K))
    assert loss.tally[0] == 2
