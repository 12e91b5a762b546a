"""Outputs and labels that several towers and columns make."""

import math
from decimal import Decimal, getcontext

import parts
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.tasks.relations import Conditional, Product, Relation, logit_of_product
from tzmmoe.tasks.task import Task
from tzmmoe.tasks.taskset import TaskSet

NAN = math.nan
getcontext().prec = 400
LOGITS = [-200.0, -90.0, -17.0, -1.0, 0.0, 0.5, 17.0, 40.0, 90.0, 200.0]


def exact_logit(*logits: float) -> float:
    """By decimals of 400 digits."""
    p = Decimal(1)
    for logit in logits:
        p /= 1 + (-Decimal(logit)).exp()
    return float((p / (1 - p)).ln())


@pytest.mark.parametrize("a", LOGITS)
@pytest.mark.parametrize("b", LOGITS)
def test_the_logit_of_a_product_is_exact_where_the_probabilities_would_round(
    a: float, b: float
) -> None:
    one, other = torch.tensor(a), torch.tensor(b)
    found = logit_of_product(one, other)
    assert found.dtype is torch.float32
    assert float(found) == pytest.approx(exact_logit(a, b), rel=1e-6, abs=1e-6)
    assert torch.equal(found, logit_of_product(other, one))


def test_a_product_of_three_is_that_of_the_first_two_with_the_third() -> None:
    towers = {name: parts.normal(20, seed=place).float() for place, name in enumerate("abc")}
    found = Product(("a", "b", "c"), ()).logits("any", towers)
    rows = zip(*(towers[name].tolist() for name in "abc"), strict=True)
    wanted = torch.tensor([exact_logit(*row) for row in rows])
    assert_close(found, wanted)
    assert torch.equal(Product(("a",), ()).logits("any", towers), towers["a"])


def test_its_gradients_are_those_of_finite_differences() -> None:
    a, b = (3 * parts.normal(9, seed=seed) for seed in (0, 1))
    assert gradcheck(logit_of_product, (a.requires_grad_(), b.requires_grad_()))
    extreme = torch.tensor([[-200.0, 200.0, 0.0], [200.0, 200.0, -200.0]], requires_grad=True)
    logit_of_product(*extreme).sum().backward()
    assert extreme.grad.isfinite().all()


def test_half_precision_is_multiplied_in_single() -> None:
    towers = {"a": torch.tensor([9.0], dtype=torch.bfloat16), "b": torch.tensor([-2.5])}
    found = Product(("a", "b"), ()).logits("any", towers)
    assert float(found) == pytest.approx(exact_logit(9.0, -2.5), rel=1e-6)


# Of one event, of another, and whether both happened.
BOTH = [
    (1.0, 1.0, 1.0),
    (1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 0.0),
    (0.0, NAN, 0.0),
    (NAN, 0.0, 0.0),
    (1.0, NAN, NAN),
    (NAN, 1.0, NAN),
    (NAN, NAN, NAN),
    (0.5, 0.5, 0.25),
    (0.5, NAN, NAN),
]


def test_a_product_happened_when_all_did_and_not_as_soon_as_one_did_not() -> None:
    own, event, both = (torch.tensor(column) for column in zip(*BOTH, strict=True))
    found = Product(("a", "b"), ("event",)).labels(own, {"event": event})
    assert_close(found, both, equal_nan=True)
    assert_close(Product(("a", "b"), ()).labels(own, {}), own, equal_nan=True)


def test_a_conditional_label_is_missing_where_the_condition_is_not_met() -> None:
    own = torch.tensor([1.0, 0.0, 1.0, NAN, 1.0])
    given = torch.tensor([1.0, 2.0, 0.0, 1.0, NAN])
    found = Conditional("event").labels(own, {"event": given})
    assert_close(found, torch.tensor([1.0, 0.0, NAN, NAN, NAN]), equal_nan=True)


def test_a_task_reads_the_columns_of_its_relation() -> None:
    def columns(relation: Relation) -> dict[str, tuple[str, float]]:
        task = parts.task("t", label="own", relation=relation)
        return {c.name: (c.role, c.high) for c in task.columns()}

    assert columns(Relation()) == {"own": ("label", 1)}
    assert columns(Product(("a", "b"), ("x",))) == {"own": ("label", 1), "x": ("label", 1)}
    assert columns(Conditional("x")) == {"own": ("label", 1), "x": ("label", math.inf)}


def test_labels_and_weights_are_computed_once_for_all_losses_of_a_task(monkeypatch) -> None:
    calls: list[str] = []
    original = Task.weights

    def counted(self: Task, batch: object) -> tuple[Tensor, Tensor]:
        calls.append(self.name)
        return original(self, batch)

    monkeypatch.setattr(Task, "weights", counted)
    logits, columns = parts.impressions(20)
    losses = ["binary_cross_entropy {}", "l2_loss {}", "hinge_loss {}"]
    two = [parts.task(n, label=c, loss=losses) for n, c in (("ctr", "click"), ("cvr", "buy"))]
    TaskSet(two).losses(logits, parts.batch(columns))
    assert calls == ["ctr", "cvr"]
    list(TaskSet(two).loss_sums(logits, parts.batch(columns)))  # as an evaluation does
    assert calls == ["ctr", "cvr"] * 2
