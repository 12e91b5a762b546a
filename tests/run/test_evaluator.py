"""Evaluation: one pass whose results do not depend on how the rows are cut into batches."""

import math
from collections.abc import Iterator

import numpy as np
import oracles
import parts
import pytest
import torch
from ranks import ranks
from torch import Tensor

from tzmmoe.batch import Batch, Inputs
from tzmmoe.jagged import Jagged
from tzmmoe.models import RankModel
from tzmmoe.run.evaluate import evaluate
from tzmmoe.system.world import World
from tzmmoe.tables.penalties import Penalty, penalize
from tzmmoe.tasks.task import TaskSpace
from tzmmoe.tasks.taskset import TaskSet

NAN = math.nan
ROWS = 203
CPU = torch.device("cpu")
METRICS = ["auc { thresholds: 0 }", "logloss {}"]


def columns(num_rows: int = ROWS) -> dict[str, Tensor]:
    return parts.impressions(num_rows)[1]


def tasks() -> TaskSet:
    """Of cvr, rows without a click count a tenth."""
    ctr = parts.task("ctr", label="click", metric=METRICS)
    space = TaskSpace("click", inside=1.0, outside=0.1)
    cvr = parts.task(
        "cvr", label="buy", metric=METRICS, sample_weight="weight", space=space, weight=3.0
    )
    return TaskSet([ctr, cvr])


def model(*, use_bn: bool = False) -> RankModel:
    return parts.rank_model({"ctr": 1, "cvr": 1}, use_bn=use_bn)


def batches(rows: dict[str, Tensor], size: int) -> Iterator[Batch]:
    """Of ``size`` rows; the last one may be smaller."""
    num_rows = len(rows["click"])
    inputs = parts.model_inputs(num_rows)
    for begin in range(0, num_rows, size):
        part = slice(begin, begin + size)
        ids = {4: Jagged(inputs.ids[4].values[part])}
        cut = {name: column[part] for name, column in rows.items()}
        yield parts.batch(cut, Inputs(ids, inputs.numbers[part]))


def by_hand(logits: dict[str, Tensor], rows: dict[str, Tensor]) -> dict[str, float]:
    """Losses over all rows at once, and metrics by their definitions."""
    click, buy, weight = (rows[name].tolist() for name in ("click", "buy", "weight"))
    of_cvr = zip(buy, weight, click, strict=True)
    counts_of_cvr = [oracles.row_weight(y, s, i, 1.0, 0.1) for y, s, i in of_cvr]
    found = {}
    for key, label, counts, size in (
        ("ctr", click, [0.0 if math.isnan(y) else 1.0 for y in click], 1.0),
        ("cvr", buy, counts_of_cvr, 3.0),
    ):
        each = [
            0.0 if math.isnan(y) else oracles.binary_cross_entropy(x, y)
            for x, y in zip(logits[key].tolist(), label, strict=True)
        ]
        loss = size * oracles.weighted_mean(each, counts) if sum(counts) else NAN
        found[f"binary_cross_entropy_{key}"] = loss
        labels = np.array(label)
        present = ~np.isnan(labels)
        inside = present & (np.array(click) > 0)
        probs = logits[key].float().sigmoid().numpy()
        for name, kept in ((key, present), (f"{key}_in_space", inside))[: 1 + (key == "cvr")]:
            p, y = probs[kept], labels[kept]
            found[f"auc_{name}"] = oracles.auc_by_pairs(p, y > 0.5)
            found[f"logloss_{name}"] = oracles.log_loss(p.astype(np.float64), y, 1e-12)
    losses = [v for k, v in found.items() if k.startswith("binary") and not math.isnan(v)]
    return found | {"val_loss": sum(losses) if losses else NAN}


def assert_same(results: dict[str, float], wanted: dict[str, float]) -> None:
    """A prediction may round otherwise in a batch of another size, which moves a few pairs."""
    assert set(results) == set(wanted)
    for key, value in wanted.items():
        tolerance = {"abs": 1e-3} if key.startswith("auc") else {"rel": 1e-6}
        assert results[key] == pytest.approx(value, nan_ok=True, **tolerance), key


@torch.no_grad()
def all_logits(net: RankModel) -> dict[str, Tensor]:
    return net.eval()(parts.model_inputs(ROWS))


@pytest.mark.parametrize("size", [1, 7, 100, ROWS])
@pytest.mark.parametrize("use_bn", [False, True])
def test_losses_and_metrics_are_those_of_all_rows_at_once_for_any_batch_size(
    size: int, use_bn: bool
) -> None:
    """A mean of the batches' means would differ: rows count differently in each, or not at all."""
    net = model(use_bn=use_bn).train()
    results = evaluate(net, tasks(), batches(columns(), size), CPU)
    wanted = by_hand(all_logits(net), columns())
    assert_same(results, wanted)
    assert all(math.isfinite(value) for value in results.values())


def in_part(world: World) -> dict[str, float]:
    """The results of a process that has every second batch."""
    part = list(batches(columns(), 50))[world.rank :: world.size]
    return evaluate(model(), tasks(), part, CPU, world=world)


def test_results_of_two_processes_are_those_of_all_their_rows() -> None:
    wanted = by_hand(all_logits(model()), columns())
    with ranks(2) as two:
        for results in two.run(in_part):
            assert_same(results, wanted)


@pytest.mark.parametrize("size", [7, ROWS])
def test_a_task_without_labelled_rows_is_nan_and_stays_out_of_val_loss(size: int) -> None:
    """Without a warning: they are errors in these tests."""
    net, rows = model(), columns() | {"buy": torch.full((ROWS,), NAN)}
    results = evaluate(net, tasks(), batches(rows, size), CPU)
    assert_same(results, by_hand(all_logits(net), rows))
    empty = {key for key, value in results.items() if math.isnan(value)}
    assert empty == {key for key in results if "cvr" in key}
    assert results["val_loss"] == results["binary_cross_entropy_ctr"]


def test_a_task_whose_rows_all_weigh_nothing_keeps_its_metrics() -> None:
    rows = columns()
    before = evaluate(model(), tasks(), batches(rows, 50), CPU)
    results = evaluate(model(), tasks(), batches(rows | {"weight": torch.zeros(ROWS)}, 50), CPU)
    assert math.isnan(results["binary_cross_entropy_cvr"])
    assert results["val_loss"] == results["binary_cross_entropy_ctr"]
    for key in ("auc_cvr", "logloss_cvr", "auc_cvr_in_space"):
        assert results[key] == before[key]


@pytest.mark.parametrize("num_rows", [0, 30])
def test_without_any_labelled_row_everything_is_nan(num_rows: int) -> None:
    """val_loss too: 0 would be the best there is."""
    rows = {name: torch.full((num_rows,), NAN) for name in columns()}
    inputs = parts.model_inputs(num_rows)
    results = evaluate(model(), tasks(), [parts.batch(rows, inputs)], CPU)
    assert set(results) == {*tasks().named_metrics(), *tasks().loss_keys(), "val_loss"}
    assert all(math.isnan(value) for value in results.values())


@pytest.mark.parametrize("labelled", [True, False])
def test_val_loss_holds_the_penalty_of_the_weights_only_beside_a_loss(labelled: bool) -> None:
    """The penalty is reported either way. On its own it says nothing about the predictions: as
    val_loss it would be the best there is, and early stopping would keep that checkpoint."""
    net = model()
    penalize(net.body.experts, Penalty(l1=0.5, l2=2.0))
    wanted = sum(
        0.5 * number.abs().sum() + 2.0 * (number**2).sum()
        for layer in net.body.experts.layers
        for number in layer.linear.weight.detach()
    ).item()
    rows = columns()
    if not labelled:
        rows = {name: torch.full((ROWS,), NAN) for name in rows}
    results = evaluate(net, tasks(), batches(rows, 50), CPU)
    assert results["regularization"] == pytest.approx(wanted)
    losses = [results[key] for key in tasks().loss_keys()]
    assert labelled or all(map(math.isnan, losses))
    assert results["val_loss"] == pytest.approx(sum(losses) + wanted, nan_ok=True)


def test_an_empty_batch_changes_nothing() -> None:
    given = list(batches(columns(), 50))
    nothing = parts.batch(columns(0), parts.model_inputs(0))
    results = evaluate(model(), tasks(), [nothing, *given, nothing], CPU)
    assert results == evaluate(model(), tasks(), given, CPU)


def test_a_second_evaluation_starts_anew() -> None:
    """Nothing of the rows of the first one is left."""
    net, used = model(), tasks()
    others = columns() | {"click": 1 - columns()["click"]}
    before = evaluate(net, used, batches(others, 50), CPU)
    found = evaluate(net, used, batches(columns(), 50), CPU)
    assert found == evaluate(net, tasks(), batches(columns(), 50), CPU)
    assert found["auc_ctr"] == pytest.approx(1 - before["auc_ctr"])


def test_rows_of_an_evaluation_that_broke_off_do_not_count_in_the_next() -> None:
    """As when a signal stops one in the middle."""
    net, used = model(), tasks()

    def broken() -> Iterator[Batch]:
        yield next(batches(columns() | {"click": 1 - columns()["click"]}, 50))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(net, used, broken(), CPU)
    found = evaluate(net, used, batches(columns(), 50), CPU)
    assert found == evaluate(net, tasks(), batches(columns(), 50), CPU)


def test_no_rows_are_kept_after_an_evaluation() -> None:
    """An exact AUC holds every row, which would stay in memory while training goes on."""
    used = tasks()
    evaluate(model(), used, batches(columns(), 50), CPU)
    assert not any(metric.update_called for metric in used.named_metrics().values())


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_model_as_it_was(training: bool) -> None:
    """Weights, running statistics, gradients, and the mode of training or not."""
    net = model(use_bn=True).train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    evaluate(net, tasks(), batches(columns(), 50), CPU)
    assert all(module.training == training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_at_most_so_many_batches_are_read() -> None:
    given = batches(columns(), 50)
    results = evaluate(model(), tasks(), given, CPU, most=2)
    first_100 = {name: column[:100] for name, column in columns().items()}
    logits = {name: each[:100] for name, each in all_logits(model()).items()}
    assert_same(results, by_hand(logits, first_100))
    assert len(next(given)) == 50


def test_the_sink_gets_named_outputs_and_rows_of_every_batch_in_order() -> None:
    seen = []
    net = model()
    evaluate(net, tasks(), batches(columns(), 50), CPU, sink=lambda *each: seen.append(each))
    assert [len(batch) for _, batch in seen] == [50, 50, 50, 50, 3]
    logits = all_logits(net)
    for name in ("ctr", "cvr"):
        found = torch.cat([outputs[f"probs_{name}"] for outputs, _ in seen])
        torch.testing.assert_close(found, logits[name].float().sigmoid())
    clicks = torch.cat([batch.columns["click"] for _, batch in seen])
    assert torch.equal(clicks, columns()["click"])
