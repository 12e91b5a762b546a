"""Losses of pairs and sessions, and one that sees two tasks: each by a class of the test's own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import parts
import pytest
import torch
from ranks import Ranks
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from tzmmoe.batch import Batch
from tzmmoe.errors import ConfigError
from tzmmoe.models.rank import RankModel
from tzmmoe.run.evaluate import evaluate
from tzmmoe.system.world import World
from tzmmoe.tasks.losses.base import LabelKind, Loss, LossInputs
from tzmmoe.tasks.task import Task
from tzmmoe.tasks.taskset import TaskSet

NAN = math.nan


class OfProbabilities(Loss):
    """One logit, whose sigmoid is the prediction."""

    outputs = ("logits", "probs")

    def label_kind(self, num_class: int) -> LabelKind:
        return LabelKind(0, 1)

    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits, "probs": logits.sigmoid()}


class Pairs(OfProbabilities):
    """log(1 + e^(n - p)) of a positive and a negative of one user, by the product of weights.

    RankNet: Burges et al., ICML 2005.
    """

    columns = ("user",)
    per_row = False

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        user, labels, weights = inputs.columns["user"], inputs.labels, inputs.weights
        better = (labels[:, None] > labels) & (user[:, None] == user)
        weights_BB = better * weights[:, None] * weights
        losses_BB = F.softplus(inputs.logits - inputs.logits[:, None])
        return (losses_BB * weights_BB).sum(), weights_BB.sum()


class Sessions(OfProbabilities):
    """-log of the softmax over a user's rows, at each positive one."""

    columns = ("user",)
    per_row = False

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        same_BB = inputs.columns["user"][:, None] == inputs.columns["user"]
        counts_BB = same_BB & (inputs.weights > 0)
        whole_B = inputs.logits.masked_fill(~counts_BB, -torch.inf).logsumexp(dim=1)
        weights = inputs.weights * inputs.labels
        rows = torch.where(weights > 0, whole_B - inputs.logits, 0.0)
        return (rows * weights).sum(), weights.sum()


class Together(OfProbabilities):
    """Squared distance of the logit to that of another task: a loss of rows that sees two."""

    per_row = True

    def __init__(self, other: str) -> None:
        self.others = (other,)

    def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        [other] = inputs.others.values()
        rows = (inputs.logits - other).square() * inputs.weights
        return rows.sum(), inputs.weights.sum()


def pairs_by_loops(logits: list, labels: list, weights: list, users: list) -> tuple[float, float]:
    total = count = 0.0
    for i, one in enumerate(logits):
        for j, other in enumerate(logits):
            if users[i] == users[j] and labels[i] == 1 and labels[j] == 0:
                total += weights[i] * weights[j] * math.log1p(math.exp(other - one))
                count += weights[i] * weights[j]
    return total, count


def sessions_by_loops(
    logits: list, labels: list, weights: list, users: list
) -> tuple[float, float]:
    total = count = 0.0
    for i, one in enumerate(logits):
        if labels[i] == 1 and weights[i] > 0:
            rest = [
                x for x, u, w in zip(logits, users, weights, strict=True) if u == users[i] and w
            ]
            total += weights[i] * (math.log(sum(math.exp(x) for x in rest)) - one)
            count += weights[i]
    return total, count


BY_LOOPS = {Pairs: pairs_by_loops, Sessions: sessions_by_loops}
OF_BATCHES = pytest.mark.parametrize("kind", [Pairs, Sessions])


def cvr(*losses: Loss) -> Task:
    """Of the label buy, a fifth of which is missing, weighted."""
    task = parts.task("cvr", label="buy", sample_weight="weight", weight=2.0)
    return replace(task, losses={type(loss).__name__.lower(): loss for loss in losses})


def known(columns: Mapping[str, Tensor]) -> list[list[float]]:
    """Labels, and weights that are 0 where they are missing."""
    missing = columns["buy"].isnan()
    return [columns["buy"].nan_to_num(0.0).tolist(), (columns["weight"] * ~missing).tolist()]


@OF_BATCHES
def test_a_loss_of_a_batch_and_its_gradient_equal_the_sum_over_all_pairs(kind: type[Loss]) -> None:
    logits, columns = parts.impressions(60)
    leaf = logits["cvr"].double().requires_grad_()
    users = columns["user"].tolist()
    tasks = TaskSet([cvr(kind()), parts.task("ctr", label="click")])
    losses = tasks.losses({"cvr": leaf, "ctr": logits["ctr"]}, parts.batch(columns))
    key = f"{kind.__name__.lower()}_cvr"
    [grad] = torch.autograd.grad(losses[key], leaf)

    def loss(values: list[float]) -> float:
        total, count = BY_LOOPS[kind](values, *known(columns), users)
        return 2.0 * total / count

    values = leaf.detach().float().tolist()
    assert float(losses[key].detach()) == pytest.approx(loss(values), rel=1e-5)
    for place in range(0, 60, 7):
        step = [[v + d * (i == place) for i, v in enumerate(values)] for d in (1e-4, -1e-4)]
        wanted = (loss(step[0]) - loss(step[1])) / 2e-4
        assert float(grad[place]) == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    reads = {(column.name, column.role) for column in tasks.columns()}
    assert ("user", "group") in reads


@OF_BATCHES
@pytest.mark.parametrize("labels", [[], [1.0], [0.0, 0.0], [NAN, NAN]])
def test_without_anything_to_compare_loss_and_gradient_are_zero(
    kind: type[Loss], labels: list[float]
) -> None:
    count = len(labels)
    columns = {"buy": torch.tensor(labels), "weight": torch.ones(count)}
    batch = parts.batch(columns | {"user": torch.zeros(count, dtype=torch.int64)})
    leaf = torch.full((count,), 200.0, requires_grad=True)
    [loss] = TaskSet([cvr(kind())]).losses({"cvr": leaf}, batch).values()
    [grad] = torch.autograd.grad(loss, leaf)
    assert float(loss.detach()) == 0.0
    assert torch.equal(grad, torch.zeros(count))


def test_a_loss_of_two_tasks_teaches_both() -> None:
    logits, columns = parts.impressions(40)
    leaves = {name: each.requires_grad_() for name, each in logits.items()}
    tasks = TaskSet([cvr(Together("ctr")), parts.task("ctr", label="click", weight=0.0)])
    tasks.check()
    loss = tasks.losses(leaves, parts.batch(columns))["together_cvr"]
    _, weights = known(columns)
    apart = (leaves["cvr"] - leaves["ctr"]).tolist()
    total = sum(w * d * d for w, d in zip(weights, apart, strict=True))
    assert float(loss.detach()) == pytest.approx(2 * total / sum(weights), rel=1e-5)
    grads = torch.autograd.grad(loss, [leaves["cvr"], leaves["ctr"]])
    wanted = [4 * w * d / sum(weights) for w, d in zip(weights, apart, strict=True)]
    assert grads[0].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-7)
    assert_close(grads[0], -grads[1])


def test_a_loss_that_sees_a_task_which_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'ctrr', .*did you mean 'ctr'") as error:
        TaskSet([cvr(Together("ctrr")), parts.task("ctr")]).check()
    assert "together of 'cvr'" in str(error.value)


def test_a_loss_with_sums_of_its_own_says_whether_they_divide_by_the_weights() -> None:
    with pytest.raises(TypeError, match="Forgetful defines sums; set per_row"):

        class Forgetful(OfProbabilities):
            def sums(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
                return inputs.weights.sum(), inputs.weights.sum()


def rows(num_rows: int) -> Batch:
    """Inputs of ``parts.rank_model``, and labels that follow from them."""
    inputs = parts.model_inputs(num_rows)
    source = parts.generator(3)
    score = inputs.numbers.sum(dim=1)
    click = (score + torch.randn(num_rows, generator=source) > 0).float()
    columns = {
        "click": click,
        "buy": click * (inputs.numbers[:, 0] > 0),
        "weight": torch.randint(0, 3, (num_rows,), generator=source).float(),
        "user": torch.randint(0, 6, (num_rows,), generator=source),
    }
    return parts.batch(columns, inputs)


def of_model(*losses: Loss) -> tuple[RankModel, TaskSet]:
    tasks = TaskSet([parts.task("ctr", label="click"), cvr(*losses)])
    return parts.rank_model({"ctr": 1, "cvr": 1}).train(), tasks


LEARNED = {
    "pairs": [Pairs()],
    "sessions": [Sessions()],
    "pairs, and two tasks": [Pairs(), Together("ctr")],
}


@pytest.mark.parametrize("losses", LEARNED.values(), ids=LEARNED)
def test_a_model_learns_by_them(losses: Sequence[Loss]) -> None:
    """100 steps lessen each loss of the task; an evaluation gives their sums over all batches."""
    model, tasks = of_model(*losses)
    batch = rows(64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    courses = []
    for _ in range(100):
        found = tasks.losses(model(batch.inputs), batch)
        optimizer.zero_grad()
        sum(found.values()).backward()
        optimizer.step()
        courses.append({key: float(loss.detach()) for key, loss in found.items()})
    total = [sum(course.values()) for course in courses]
    assert total[-1] < 0.97 * total[0]
    for key in tasks.loss_keys():
        assert courses[-1][key] < courses[0][key], key
    batches = [rows(64), rows(20)]
    results = evaluate(model, tasks, batches, torch.device("cpu"))
    model.eval()
    sums = {key: [0.0, 0.0] for key in tasks.loss_keys()}
    for each in batches:
        for task, word, part, count in tasks.loss_sums(model(each.inputs), each):
            sums[f"{word}_{task.name}"][0] += float(part.detach()) * task.weight
            sums[f"{word}_{task.name}"][1] += float(count)
    for key, (part, count) in sums.items():
        assert results[key] == pytest.approx(part / count, rel=1e-9)


def gradient(
    world: World, cut: Sequence[slice], name: str, apart: bool = False
) -> tuple[list[float], Tensor]:
    """Losses and the gradient of a process's part, as loss_mean: GLOBAL_BATCH has them."""
    kinds = {"pairs": Pairs(), "together": Together("ctr")} | {
        text: next(iter(parts.losses(text).values())) for text in OF_SCHEMA if text == name
    }
    model, tasks = of_model(kinds[name])
    whole, part = rows(64), cut[world.rank]
    if apart:
        whole.columns["user"][:40] *= 2
        whole.columns["user"][40:] = 2 * whole.columns["user"][40:] + 1
    kept = {n: column[part] for n, column in whole.columns.items()}
    inputs = whole.inputs
    logits = {n: each[part] for n, each in model(inputs).items()}
    batch = parts.batch(kept)
    totals = world.total(tasks.divisors(batch)) / world.size
    losses = tasks.losses(logits, batch, totals)
    sum(losses.values()).backward()
    grads = torch.cat([p.grad.to_dense().flatten() for p in model.parameters()])
    values = torch.stack([loss.detach().double() for loss in losses.values()])
    return (world.total(values) / world.size).tolist(), world.total(grads) / world.size


CUT = (slice(0, 40), slice(40, 64))
USER = 'session_name: "user"'
OF_SCHEMA = [
    f"pair_wise_loss {{ {USER} }}",
    f"pairwise_logistic_loss {{ use_label_margin: true {USER} }}",
    f"pairwise_focal_loss {{ {USER} }}",
    f"pairwise_hinge_loss {{ {USER} }}",
    "binary_cross_entropy { ignore_weights: true }",
    'order_calibrate_loss { tower_names: "ctr" }',
]


@pytest.mark.parametrize("text", OF_SCHEMA)
def test_two_processes_learn_from_pairs_and_unweighted_rows_as_one_would(
    two: Ranks, text: str
) -> None:
    """Users of the first process are even, those of the second odd, so no session is in both."""
    alone = gradient(World(), [slice(None)], text, apart=True)
    for losses, grads in two.run(gradient, CUT, text, True):
        assert losses == pytest.approx(alone[0], rel=1e-6)
        assert_close(grads, alone[1], rtol=1e-5, atol=1e-8)


def test_in_two_processes_a_loss_of_rows_that_sees_two_tasks_is_that_of_the_global_batch(
    two: Ranks,
) -> None:
    alone = gradient(World(), [slice(None)], "together")
    for losses, grads in two.run(gradient, CUT, "together"):
        assert losses == pytest.approx(alone[0], rel=1e-6)
        assert_close(grads, alone[1], rtol=1e-5, atol=1e-8)


def test_in_two_processes_a_loss_of_pairs_is_the_mean_of_those_of_their_batches(
    two: Ranks,
) -> None:
    """No pair reaches from one process to another; other losses are of the global batch."""
    model, tasks = of_model(Pairs())
    whole = rows(64)
    logits, each = model(whole.inputs), []
    for part in CUT:
        batch = parts.batch({n: column[part] for n, column in whole.columns.items()})
        own = tasks.losses({n: y[part] for n, y in logits.items()}, batch)
        each.append(float(own["pairs_cvr"].detach()))
    entropy = float(tasks.losses(logits, whole)["binary_cross_entropy_ctr"].detach())
    for losses, _ in two.run(gradient, CUT, "pairs"):
        assert losses == pytest.approx([entropy, sum(each) / 2], rel=1e-6)
