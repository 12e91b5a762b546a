"""Losses of pairs and sessions against loops over all pairs in float64, and their laws."""

import math
from collections.abc import Callable, Mapping

import parts
import pytest
import torch
from torch import Tensor

from tzmmoe.batch import NO_GROUP
from tzmmoe.errors import ConfigError
from tzmmoe.tasks.losses import Loss, pairs
from tzmmoe.tasks.losses.base import LossInputs

S = 'session_name: "s"'


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x: float) -> float:
    return math.exp(-softplus(-x))


OfPair = Callable[[float, float], float]
# By text: the loss of a pair from d and y_i - y_j, and the temperature.
PAIR_LOSSES: Mapping[str, tuple[OfPair, float]] = {
    f"pair_wise_loss {{ margin: 0.5 temperature: 2 {S} }}": (lambda d, _: softplus(0.5 - d), 2),
    f"pairwise_logistic_loss {{ {S} }}": (lambda d, _: softplus(-d), 1),
    f"pairwise_logistic_loss {{ hinge_margin: 2 {S} }}": (lambda d, _: softplus(2 - d), 1),
    f"pairwise_logistic_loss {{ use_label_margin: true temperature: 3 {S} }}": (
        lambda d, y: softplus(y - d),
        3,
    ),
    f"pairwise_focal_loss {{ alpha: 0.25 {S} }}": (
        lambda d, _: 0.25 * sigmoid(-d) ** 2 * softplus(-d),
        1,
    ),
    f"pairwise_hinge_loss {{ {S} }}": (lambda d, y: max(0.0, y - d), 1),
    f"pairwise_hinge_loss {{ use_label_margin: false hinge_margin: 3 {S} }}": (
        lambda d, _: max(0.0, 3 - d),
        1,
    ),
}
EACH = pytest.mark.parametrize("text", PAIR_LOSSES)


def made(text: str) -> Loss:
    [loss] = parts.losses(text).values()
    return loss


def inputs(
    num_rows: int, *, scale: float = 1.0, num_sessions: int = 5, dtype: torch.dtype = torch.float32
) -> LossInputs:
    """Graded labels with ties, weights 0 to 2, and rows without session."""
    source = parts.generator(num_rows)
    logits = torch.randn(num_rows, generator=source, dtype=torch.float64).to(dtype)
    logits = logits.sign() * scale if scale > 100 else logits * scale
    labels = torch.randint(0, 3, (num_rows,), generator=source).to(dtype)
    weights = torch.randint(0, 3, (num_rows,), generator=source).double()
    sessions = torch.randint(0, num_sessions, (num_rows,), generator=source)
    sessions[sessions == 4] = NO_GROUP
    return LossInputs(logits, labels, weights, {"s": sessions}, {})


def all_pairs(given: LossInputs, temperature: float) -> list[tuple[float, float, float]]:
    """d, y_i - y_j and weight of each."""
    logits, labels, weights = (x.tolist() for x in (given.logits, given.labels, given.weights))
    sessions, found = given.columns["s"].tolist(), []
    for i, s in enumerate(sessions):
        for j, other in enumerate(sessions):
            is_pair = s == other != NO_GROUP and labels[i] > labels[j]
            if is_pair and weights[i] > 0 and weights[j] > 0:
                d = (logits[i] - logits[j]) / temperature
                found.append((d, labels[i] - labels[j], weights[i]))
    return found


@EACH
@pytest.mark.parametrize("scale", [0.0, 1.0, 200.0])
@pytest.mark.parametrize("at_once", [7, 2**20])
def test_a_loss_of_pairs_equals_a_loop_over_all_pairs(
    text: str, scale: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", at_once)
    given, (of_pair, temperature) = inputs(40, scale=scale), PAIR_LOSSES[text]
    found = all_pairs(given, temperature)
    total, count = made(text).sums(given)
    assert float(count) == sum(w for *_, w in found) == float(made(text).divisor(given))
    wanted = sum(w * of_pair(d, y) for d, y, w in found)
    assert float(total) == pytest.approx(wanted, rel=1e-5, abs=1e-30)


@EACH
@pytest.mark.parametrize("at_once", [5, 2**20])
def test_gradients_of_pairs_are_right_also_where_they_are_made_again(
    text: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", at_once)
    given = inputs(12, dtype=torch.float64, num_sessions=2)

    def total(logits: Tensor) -> Tensor:
        return made(text).sums(LossInputs(logits, given.labels, given.weights, given.columns, {}))[
            0
        ]

    assert torch.autograd.gradcheck(total, given.logits.requires_grad_())


OF_SESSIONS = [*PAIR_LOSSES, f"jrc_loss {{ {S} }}", f"jrc_loss {{ same_label_loss: false {S} }}"]


def for_loss(text: str, given: LossInputs) -> LossInputs:
    """With two logits and labels 0 or 1 for jrc_loss."""
    if not text.startswith("jrc"):
        return given
    logits = torch.stack([given.logits.flip(0), given.logits], dim=1)
    labels = given.labels.clamp(max=1)
    return LossInputs(logits, labels, given.weights, given.columns, {})


def cut(given: LossInputs, rows: Tensor) -> LossInputs:
    columns = {"s": given.columns["s"][rows]}
    return LossInputs(given.logits[rows], given.labels[rows], given.weights[rows], columns, {})


@pytest.mark.parametrize("text", OF_SESSIONS)
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_a_row_of_weight_0_is_as_if_it_were_not_there_and_has_no_gradient(
    text: str, scale: float
) -> None:
    given = for_loss(text, inputs(50, scale=scale))
    given.logits.requires_grad_()
    total, count = made(text).sums(given)
    [grad] = torch.autograd.grad(total, given.logits)
    assert grad.isfinite().all()
    assert not grad[given.weights == 0].any()
    less, fewer = made(text).sums(cut(given, given.weights > 0))
    assert float(total.detach()) == pytest.approx(float(less.detach()), rel=1e-6)
    assert float(count) == float(fewer)


@pytest.mark.parametrize("text", OF_SESSIONS)
def test_sessions_apart_add_up_to_all_of_them(text: str) -> None:
    """So several processes give what one gives, if no session is in two of them."""
    given = for_loss(text, inputs(60))
    sessions = given.columns["s"]
    whole = made(text).sums(given)
    some = [made(text).sums(cut(given, rows)) for rows in (sessions < 2, sessions >= 2)]
    for i in range(2):
        assert float(whole[i]) == pytest.approx(float(some[0][i] + some[1][i]), rel=1e-6)


@pytest.mark.parametrize("text", OF_SESSIONS)
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_with_one_class_or_no_rows_everything_is_finite(text: str, label: float) -> None:
    for num_rows in (0, 1, 9):
        given = inputs(num_rows, scale=200.0)
        given = LossInputs(
            given.logits, torch.full_like(given.labels, label), given.weights, given.columns, {}
        )
        given = for_loss(text, given)
        given.logits.requires_grad_()
        total, _ = made(text).sums(given)
        [grad] = torch.autograd.grad(total, given.logits)
        assert total.isfinite()
        assert grad.isfinite().all()
        assert text.startswith("jrc") or not (total or grad.any())


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_ohem_keeps_the_largest_losses_up_to_that_share_of_the_weight(ratio: float) -> None:
    given = inputs(40)
    losses = sorted(((softplus(-d), w) for d, _, w in all_pairs(given, 1)), reverse=True)
    rest = target = ratio * sum(w for _, w in losses)
    wanted = 0.0
    for loss, weight in losses:
        kept = min(weight, max(rest, 0.0))
        wanted += kept * loss
        rest -= weight
    loss = made(f"pairwise_logistic_loss {{ ohem_ratio: {ratio} {S} }}")
    total, count = loss.sums(given)
    assert float(count) == pytest.approx(target, rel=1e-9)
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    assert float(loss.divisor(given)) == pytest.approx(target, rel=1e-12)


def test_focal_leaves_out_pairs_with_the_margin_only_where_one_is_written() -> None:
    given = inputs(40)
    found = [(d, w) for d, _, w in all_pairs(given, 1) if d < 0.5]
    loss = made(f"pairwise_focal_loss {{ hinge_margin: 0.5 {S} }}")
    total, count = loss.sums(given)
    assert float(count) == sum(w for _, w in found)
    wanted = sum(w * sigmoid(-d) ** 2 * softplus(-d) for d, w in found)
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    assert loss.divisor(given) is None


def test_without_sessions_a_batch_of_8192_has_the_loss_of_its_sorted_differences() -> None:
    """max(0, -d) of millions of pairs, which sums of sorted logits give too."""
    source = parts.generator(1)
    logits = torch.randn(8192, generator=source).requires_grad_()
    labels = (torch.rand(8192, generator=source) < 0.1).float()
    given = LossInputs(logits, labels, torch.ones(8192, dtype=torch.float64), {}, {})
    loss = made("pairwise_hinge_loss { use_label_margin: false hinge_margin: 0 }")
    total, count = loss.sums(given)
    [grad] = torch.autograd.grad(total, logits)
    high, low = logits[labels == 1].detach().double(), logits[labels == 0].detach().double()
    low = low.sort().values
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), low.cumsum(0)])
    below = torch.searchsorted(low, high)
    above = len(low) - below
    assert float(count) == len(high) * len(low) > 2 * pairs.PAIRS_AT_ONCE
    wanted = (sums[-1] - sums[below] - above * high).sum()
    assert float(total.detach()) == pytest.approx(float(wanted), rel=1e-6)
    assert torch.equal(grad[labels == 1].long(), -above)


def jrc_by_loops(given: LossInputs, alpha: float, *, same: bool) -> float:
    logits, labels = given.logits.double().tolist(), given.labels.long().tolist()
    weights, sessions = given.weights.tolist(), given.columns["s"].tolist()
    total = 0.0
    for i, (pair, y) in enumerate(zip(logits, labels, strict=True)):
        entropy = softplus(pair[1 - y] - pair[y])
        rows = [
            j
            for j, s in enumerate(sessions)
            if s == sessions[i] != NO_GROUP
            and weights[j] > 0
            and (same or j == i or labels[j] != y)
        ]
        top = max([logits[j][y] for j in rows], default=0.0)
        spread = 0.0
        if weights[i] > 0 and rows:
            spread = top + math.log(sum(math.exp(logits[j][y] - top) for j in rows)) - pair[y]
        total += weights[i] * (alpha * entropy + (1 - alpha) * spread)
    return total


@pytest.mark.parametrize("scale", [0.0, 1.0, 200.0])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_jrc_equals_a_loop_over_sessions(scale: float, same: bool, alpha: float) -> None:
    text = f"jrc_loss {{ alpha: {alpha} same_label_loss: {str(same).lower()} {S} }}"
    given = for_loss(text, inputs(40, scale=scale))
    total, count = made(text).sums(given)
    assert float(count) == float(given.weights.sum())
    wanted = jrc_by_loops(given, alpha, same=same)
    assert float(total) == pytest.approx(wanted, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("same", ["true", "false"])
def test_gradients_of_jrc_are_right(same: str) -> None:
    text = f"jrc_loss {{ same_label_loss: {same} {S} }}"
    given = for_loss(text, inputs(14, dtype=torch.float64))

    def total(logits: Tensor) -> Tensor:
        return made(text).sums(LossInputs(logits, given.labels, given.weights, given.columns, {}))[
            0
        ]

    assert torch.autograd.gradcheck(total, given.logits.clone().requires_grad_())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pairwise_logistic_loss { ohem_ratio: 0 }", "ohem_ratio: is 0; give above 0"),
        ("pairwise_hinge_loss { ohem_ratio: 1.5 }", "ohem_ratio: is 1.5; give above 0"),
        ("binary_focal_loss { ohem_ratio: -1 }", "ohem_ratio: is -1; give above 0"),
        ("pair_wise_loss { temperature: 0 }", "temperature: is 0; give a number above 0"),
        ('pair_wise_loss { session_name: "" }', "session_name: is empty; name a column"),
        ("pair_wise_loss { margin: inf }", "margin: is inf; give a finite number"),
        ("pairwise_focal_loss { gamma: -1 }", "gamma: is -1; give 0 or more"),
        ("pairwise_focal_loss { alpha: 0 }", "alpha: is 0; give a number above 0"),
        (
            "pairwise_logistic_loss { use_label_margin: true hinge_margin: 1 }",
            "hinge_margin: is 1, .*remove one",
        ),
        ("jrc_loss {}", "session_name: is not set; name the column"),
        ('jrc_loss { session_name: "s" alpha: 2 }', "alpha: is 2; give 0 to 1"),
        ("f1_reweighted_loss { f1_beta_square: 0 }", "f1_beta_square: is 0; give a number above"),
        ("order_calibrate_loss {}", "tower_names: is empty; name the towers"),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_to_give(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(text)


@pytest.mark.parametrize("num_class", [1, 3])
def test_jrc_takes_two_logits(num_class: int) -> None:
    with pytest.raises(ConfigError, match=rf"num_class: is {num_class}; .*give 2"):
        made(f"jrc_loss {{ {S} }}").label_kind(num_class)
