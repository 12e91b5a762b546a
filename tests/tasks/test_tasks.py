"""Tasks: weighted losses, named outputs, and which rows a metric sees."""

import math
from collections.abc import Mapping, Sequence

import oracles
import parts
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Batch
from tzmmoe.errors import DataError
from tzmmoe.tasks.task import Task, TaskSpace
from tzmmoe.tasks.taskset import TaskSet

NAN = math.nan
BCE = "binary_cross_entropy {}"
CLICKED = TaskSpace("click", inside=1.0, outside=0.0)


def of(
    tasks: Sequence[Task], logits: Mapping[str, Tensor], batch: Batch
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Losses by key, and the gradients of their sum by task."""
    leaves = {name: each.clone().requires_grad_() for name, each in logits.items()}
    losses = TaskSet(tasks).losses(leaves, batch)
    grads = torch.autograd.grad(sum(losses.values()), list(leaves.values()))
    values = {key: loss.item() for key, loss in losses.items()}
    return values, dict(zip(leaves, grads, strict=True))


# As TorchEasyRec's own test has them (multi_task_rank_test.py).
LOGITS = {"t1": torch.tensor([0.2, 0.3]), "t2": torch.tensor([1.2, 1.3])}
LABELS = {"label1": [0.0, 1.0], "label2": [1.0, 0.0]}


@pytest.mark.parametrize("weight", [1.0, 2.0])
@pytest.mark.parametrize(("masked", "wanted"), [(False, 0.9021), (True, 1.5410)])
def test_losses_are_the_reference_numbers_of_torcheasyrec(
    weight: float, masked: bool, wanted: float
) -> None:
    space = TaskSpace("label1", inside=1.0, outside=0.0) if masked else None
    tasks = [
        parts.task("t1", label="label1"),
        parts.task("t2", label="label2", weight=weight, space=space),
    ]
    losses, _ = of(tasks, LOGITS, parts.batch(LABELS))
    assert list(losses) == ["binary_cross_entropy_t1", "binary_cross_entropy_t2"]
    assert losses["binary_cross_entropy_t1"] == pytest.approx(0.6762, abs=5e-5)
    assert losses["binary_cross_entropy_t2"] == pytest.approx(wanted * weight, abs=5e-5 * weight)


ROWS = st.lists(
    st.tuples(
        st.sampled_from([-200.0, -3.0, 0.0, 0.7, 200.0]),  # logit
        st.sampled_from([0.0, 1.0, NAN]),  # label
        st.sampled_from([0.0, 0.5, 1.0, 30.0]),  # sample weight
        st.sampled_from([-1.0, 0.0, 1.0, 2.0, NAN]),  # indicator
    ),
    max_size=8,
)
INSIDE_OUTSIDE = st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (10.0, 1.0), (0.3, 0.7)])


@settings(deadline=None)
@given(ROWS, INSIDE_OUTSIDE, st.booleans(), st.booleans(), st.sampled_from([0.0, 1.0, 2.5]))
@example([], (1.0, 1.0), True, True, 1.0)
@example([(200.0, NAN, 1.0, 1.0), (-200.0, NAN, 1.0, 1.0)], (1.0, 1.0), True, True, 1.0)
@example([(200.0, 0.0, 0.0, 1.0)], (1.0, 1.0), True, False, 1.0)
@example([(200.0, 0.0, 1.0, NAN)], (1.0, 1.0), False, True, 1.0)
@example([(200.0, 0.0, 1.0, 0.0)], (1.0, 0.0), False, True, 1.0)
def test_a_loss_and_its_gradient_equal_the_formula_row_by_row(
    rows: list[tuple[float, float, float, float]],
    in_out: tuple[float, float],
    has_weights: bool,
    has_space: bool,
    weight: float,
) -> None:
    """weight mean(l w / mean(w)); where nothing counts, both are 0: never NaN."""
    logits, labels, sample_weights, indicators = (
        torch.tensor([row[place] for row in rows], dtype=torch.float32) for place in range(4)
    )
    batch = parts.batch({"ctr": labels, "s": sample_weights, "click": indicators})
    task = parts.task(
        "ctr",
        weight=weight,
        sample_weight="s" if has_weights else None,
        space=TaskSpace("click", *in_out) if has_space else None,
    )
    losses, grads = of([task], {"ctr": logits}, batch)

    counts = [
        oracles.row_weight(y, s if has_weights else 1.0, i if has_space else None, *in_out)
        for _, y, s, i in rows
    ]
    each = [0.0 if math.isnan(y) else oracles.binary_cross_entropy(x, y) for x, y, _, _ in rows]
    wanted = weight * oracles.weighted_mean(each, counts)
    assert losses["binary_cross_entropy_ctr"] == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    wanted_grad = [
        weight * w * (1 / (1 + math.exp(-x)) - y) / sum(counts) if w else 0.0
        for (x, y, _, _), w in zip(rows, counts, strict=True)
    ]
    assert grads["ctr"].tolist() == pytest.approx(wanted_grad, rel=1e-4, abs=1e-6)


def cvr(
    *, space: TaskSpace | None = None, sample_weight: str | None = None, weight: float = 1.0
) -> Task:
    return parts.task("cvr", label="buy", space=space, sample_weight=sample_weight, weight=weight)


def taken(rows: Tensor, *tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    return [{name: each[rows] for name, each in part.items()} for part in tensors]


def test_a_row_of_weight_zero_is_an_absent_row() -> None:
    logits, columns = parts.impressions(60)
    task = cvr(sample_weight="weight", space=TaskSpace("click", 1.0, 0.5))
    counted = columns["weight"] > 0
    assert 0 < counted.sum() < 60
    losses, grads = of([task], {"cvr": logits["cvr"]}, parts.batch(columns))
    fewer_logits, fewer_columns = taken(counted, {"cvr": logits["cvr"]}, columns)
    wanted, wanted_grads = of([task], fewer_logits, parts.batch(fewer_columns))
    assert losses == pytest.approx(wanted, rel=1e-6)
    assert_close(grads["cvr"][counted], wanted_grads["cvr"])
    assert (grads["cvr"][~counted] == 0).all()


def test_a_row_without_label_is_an_absent_row() -> None:
    logits, columns = parts.impressions(60)
    present = ~columns["buy"].isnan()
    losses, grads = of([cvr()], {"cvr": logits["cvr"]}, parts.batch(columns))
    fewer_logits, fewer_columns = taken(present, {"cvr": logits["cvr"]}, columns)
    wanted, wanted_grads = of([cvr()], fewer_logits, parts.batch(fewer_columns))
    assert losses == pytest.approx(wanted, rel=1e-6)
    assert_close(grads["cvr"][present], wanted_grads["cvr"])
    assert (grads["cvr"][~present] == 0).all()


@pytest.mark.parametrize("loss", [BCE, "l2_loss {}"])
@pytest.mark.parametrize("weight", [2, 3])
def test_a_row_of_whole_weight_is_that_many_rows(loss: str, weight: int) -> None:
    task = parts.task("t", loss=[loss], sample_weight="s")
    logits, labels = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([1.0, 0.0, 0.0])
    batch = parts.batch({"t": labels, "s": torch.tensor([1.0, weight, 1.0])})
    times = torch.tensor([1, weight, 1])
    repeated = parts.batch({"t": labels.repeat_interleave(times), "s": torch.ones(weight + 2)})
    [found] = of([task], {"t": logits}, batch)[0].values()
    [wanted] = of([task], {"t": logits.repeat_interleave(times)}, repeated)[0].values()
    assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e-6, 3.0, 1e6, 1e30])
def test_the_scale_of_sample_weights_does_not_matter(factor: float) -> None:
    logits, columns = parts.impressions(60)
    task = cvr(sample_weight="weight")
    losses, grads = of([task], {"cvr": logits["cvr"]}, parts.batch(columns))
    scaled = columns | {"weight": columns["weight"] * factor}
    found, found_grads = of([task], {"cvr": logits["cvr"]}, parts.batch(scaled))
    assert found == pytest.approx(losses, rel=1e-6)
    assert_close(found_grads, grads, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("first", "second"), [((10, 1), (1, 0.1)), ((1, 0), (7, 0))])
def test_only_the_ratio_of_weights_in_and_out_of_the_space_matters(
    first: tuple[float, float], second: tuple[float, float]
) -> None:
    logits, columns = parts.impressions(60)
    found = [
        of([cvr(space=TaskSpace("click", *each))], {"cvr": logits["cvr"]}, parts.batch(columns))
        for each in (first, second)
    ]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("weight", [0.0, 0.5, 10.0])
def test_weight_is_the_size_of_a_task(weight: float) -> None:
    logits, columns = parts.impressions(60)
    for chosen in ({}, {"space": CLICKED}, {"sample_weight": "weight"}):
        one, grad = of([cvr(**chosen)], {"cvr": logits["cvr"]}, parts.batch(columns))
        [value], [found] = (
            each.values()
            for each in of(
                [cvr(weight=weight, **chosen)], {"cvr": logits["cvr"]}, parts.batch(columns)
            )
        )
        assert value == pytest.approx(weight * one["binary_cross_entropy_cvr"], rel=1e-6)
        assert_close(found, weight * grad["cvr"])


def test_with_out_weight_zero_the_loss_is_the_mean_over_the_space() -> None:
    """And rows outside it, and those whose indicator is missing, have no gradient."""
    logits, columns = parts.impressions(60)
    columns["click"][:5] = NAN
    batch = parts.batch(columns)
    losses, grads = of([cvr(space=CLICKED)], {"cvr": logits["cvr"]}, batch)
    inside = (columns["click"] > 0) & ~columns["buy"].isnan()
    each = [
        oracles.binary_cross_entropy(x, y)
        for x, y in zip(
            logits["cvr"][inside].tolist(), columns["buy"][inside].tolist(), strict=True
        )
    ]
    assert losses["binary_cross_entropy_cvr"] == pytest.approx(sum(each) / len(each), rel=1e-6)
    assert (grads["cvr"][~inside] == 0).all()
    assert (grads["cvr"][inside] != 0).all()


@pytest.mark.parametrize("loss", [BCE, "l2_loss {}", "softmax_cross_entropy {}"])
@pytest.mark.parametrize(
    "columns",
    [
        {"t": [], "s": [], "click": []},
        {"t": [NAN, NAN], "s": [1.0, 1.0], "click": [1.0, 1.0]},
        {"t": [1.0, 0.0], "s": [0.0, 0.0], "click": [1.0, 1.0]},
        {"t": [1.0, 0.0], "s": [1.0, 1.0], "click": [0.0, -1.0]},
        {"t": [1.0, 0.0], "s": [1.0, 1.0], "click": [NAN, NAN]},
    ],
    ids=["no rows", "no labels", "no weights", "nothing in the space", "no indicators"],
)
def test_where_nothing_counts_loss_and_gradient_are_zero(
    loss: str, columns: dict[str, list[float]]
) -> None:
    """At logits of 200, and beside another task that learns."""
    num_class = 2 if "softmax" in loss else 1
    tasks = [
        parts.task("t", loss=[loss], num_class=num_class, sample_weight="s", space=CLICKED),
        parts.task("other"),
    ]
    num_rows = len(columns["t"])
    logits = 200 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])[:num_rows, :num_class]
    logits = logits.squeeze(1) if num_class == 1 else logits
    batch = parts.batch(
        {n: torch.tensor(c) for n, c in columns.items()} | {"other": torch.ones(num_rows)}
    )
    losses, grads = of(tasks, {"t": logits, "other": torch.zeros(num_rows)}, batch)
    assert losses.pop("binary_cross_entropy_other") == pytest.approx(math.log(2) * (num_rows > 0))
    assert list(losses.values()) == [0.0]
    assert torch.equal(grads["t"], torch.zeros_like(logits))
    assert torch.equal(grads["other"], torch.full((num_rows,), -0.5) / max(num_rows, 1))


def test_a_row_that_does_not_count_may_have_an_infinite_loss() -> None:
    """(10^30)^2 is beyond single precision; 0 times infinity would be NaN."""
    batch = parts.batch({"t": [1.0, 0.0, NAN], "s": [1.0, 0.0, 1.0]})
    task = parts.task("t", loss=["l2_loss {}"], sample_weight="s")
    losses, grads = of([task], {"t": torch.tensor([3.0, 1e30, 1e30])}, batch)
    assert losses == {"l2_loss_t": 4.0}
    assert grads["t"].tolist() == [4.0, 0.0, 0.0]


def test_losses_of_a_tower_share_logits_and_weights() -> None:
    logits, columns = parts.impressions(60)
    task = parts.task(
        "cvr", label="buy", loss=[BCE, "l2_loss {}"], weight=3.0, sample_weight="weight",
        space=TaskSpace("click", 1.0, 0.2),
    )  # fmt: skip
    losses, _ = of([task], {"cvr": logits["cvr"]}, parts.batch(columns))
    counts = [
        oracles.row_weight(y, s, i, 1.0, 0.2)
        for y, s, i in zip(*[columns[n].tolist() for n in ("buy", "weight", "click")], strict=True)
    ]
    rows = list(zip(logits["cvr"].tolist(), columns["buy"].nan_to_num().tolist(), strict=True))
    bce = oracles.weighted_mean([oracles.binary_cross_entropy(x, y) for x, y in rows], counts)
    squares = oracles.weighted_mean([(x - y) ** 2 for x, y in rows], counts)
    wanted = {"binary_cross_entropy_cvr": 3 * bce, "l2_loss_cvr": 3 * squares}
    assert losses == pytest.approx(wanted, rel=1e-5)


def test_a_task_with_classes_and_one_with_distributions_equal_the_formula() -> None:
    """A distribution that is missing in part is missing."""
    logits = parts.normal(4, 3, dtype=torch.float32)
    spread = torch.tensor([[0.2, 0.5, 0.3], [1, 0, 0], [NAN, NAN, NAN], [0.5, NAN, 0.5]])
    batch = parts.batch({"a": torch.tensor([2.0, 0.0, NAN, 1.0]), "b": spread})
    softmax = ["softmax_cross_entropy { label_smoothing: 0.1 }"]
    tasks = [parts.task(name, loss=softmax, num_class=3) for name in ("a", "b")]
    losses, grads = of(tasks, {"a": logits, "b": logits}, batch)
    rows = logits.tolist()
    one_hot = torch.eye(3)[[2, 0, 1]].tolist()
    wanted = [
        sum(
            oracles.softmax_cross_entropy(x, y, 0.1) for x, y in zip(kept, targets, strict=True)
        ) / len(kept)
        for kept, targets in (([*rows[:2], rows[3]], one_hot), (rows[:2], spread[:2].tolist()))
    ]  # fmt: skip
    assert list(losses.values()) == pytest.approx(wanted, rel=1e-5)
    assert (grads["a"][2] == 0).all()
    assert (grads["b"][2:] == 0).all()


def test_losses_and_outputs_of_half_precision_are_computed_in_single() -> None:
    """Logits as mixed precision gives them."""
    rows = [[1.0, 0.5, 0.25], [-12.0, 7.0, 0.0]]
    logits = {"t": torch.tensor(rows, dtype=torch.bfloat16)}
    task = parts.task("t", loss=["softmax_cross_entropy {}"], num_class=3)
    [loss] = of([task], logits, parts.batch({"t": [0.0, 2.0]}))[0].values()
    targets = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    each = [oracles.softmax_cross_entropy(x, y) for x, y in zip(rows, targets, strict=True)]
    assert loss == pytest.approx(sum(each) / 2, rel=1e-6)
    assert_close(TaskSet([task]).predict(logits)["probs_t"], torch.tensor(rows).softmax(dim=1))


def test_weights_whose_sum_overflows_in_32_bits_still_give_their_mean() -> None:
    logits = {"ctr": torch.tensor([0.5, -1.0])}
    batch = parts.batch({"ctr": [1.0, 0.0], "s": torch.tensor([3e38, 3e38])})
    losses, grads = of([parts.task("ctr", sample_weight="s")], logits, batch)
    each = [oracles.binary_cross_entropy(x, y) for x, y in ((0.5, 1.0), (-1.0, 0.0))]
    assert losses["binary_cross_entropy_ctr"] == pytest.approx(sum(each) / 2, rel=1e-6)
    assert grads["ctr"].isfinite().all()


def test_a_task_space_indicator_that_holds_lists_is_an_error() -> None:
    task = parts.task("ctr", space=TaskSpace("kind", 1.0, 0.0))
    batch = parts.batch({"ctr": [1.0, 0.0], "kind": torch.rand(2, 3)})
    with pytest.raises(DataError, match="'kind' holds lists; task_space_indicator_label of 'ctr'"):
        of([task], {"ctr": torch.zeros(2)}, batch)
