"""Sparse optimizers against their definitions, FBGEMM's where it has them: S0.62."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from row_definitions import CASES, LR, Update, nadam
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from tzmmoe.learning.optimizers import dense_optimizer
from tzmmoe.tables.optimizers import SparseOptimizer, sparse_optimizer
from tzmmoe.tables.table import Bag, Table, Tables

ROWS, TRAINED, WIDTH, STEPS = 12, 9, 3, 30
EPS = 1e-8
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": EPS}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any], Update]:
    return request.param


def table(dtype: torch.dtype = torch.float64) -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    return nn.Parameter(torch.randn(ROWS, WIDTH, generator=generator, dtype=dtype))


def gradient(step: int, weight: Tensor) -> Tensor:
    """Uncoalesced: 8 ids of 4 rows at most, so that some repeat; one of them is not trained."""
    random = np.random.default_rng(step)
    there = random.choice(TRAINED, size=3, replace=False)
    ids = [*random.choice(there, size=7), TRAINED + step % (ROWS - TRAINED)]
    values = torch.from_numpy(random.normal(size=(len(ids), WIDTH))).to(weight.dtype)
    return of_ids(torch.tensor(ids), values)


def of_ids(ids: Tensor, values: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(
        ids.unsqueeze(0), values, (ROWS, WIDTH), is_coalesced=False, check_invariants=True
    )


def made(weight: nn.Parameter, word: str, arguments: Mapping[str, Any]) -> SparseOptimizer:
    return sparse_optimizer([(weight, TRAINED)], word, {"lr": LR, **arguments})


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=str
)
def test_many_steps_equal_the_definition_row_by_row(case, dtype, tolerance) -> None:
    word, arguments, update = case
    weight = table(dtype)
    optimizer = made(weight, word, arguments)
    expected = [{"w": row.double().numpy().copy()} for row in weight.detach()]
    for step in range(1, STEPS + 1):
        weight.grad = gradient(step, weight)
        sums: dict[int, np.ndarray] = {}
        for row, value in zip(
            weight.grad._indices()[0].tolist(), weight.grad._values().double(), strict=True
        ):
            sums[row] = sums.get(row, 0.0) + value.numpy()
        for row, grad in sums.items():
            if row < TRAINED:
                update(expected[row], grad, step)
        optimizer.step()
    found = weight.detach().double()
    oracle = torch.from_numpy(np.stack([row["w"] for row in expected]))
    assert_close(found, oracle, rtol=tolerance, atol=tolerance)
    assert (found[:TRAINED] != table(dtype)[:TRAINED]).all(), "every row had its turn"


def test_rows_that_are_not_in_the_batch_keep_their_bits_and_so_does_their_state(case) -> None:
    word, arguments, _ = case
    weight = table(torch.float32)
    optimizer = made(weight, word, arguments)
    for step in range(1, STEPS + 1):
        weight.grad = gradient(step, weight)
        before = [weight.detach().clone(), *map(Tensor.clone, optimizer.state[weight].values())]
        optimizer.step()
        rows = weight.grad._indices()[0]
        touched = torch.zeros(ROWS, dtype=torch.bool).index_fill(0, rows[rows < TRAINED], True)
        after = [weight.detach(), *optimizer.state[weight].values()]
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old[~touched], new[~touched])
        assert not torch.equal(before[0][touched], after[0][touched])


def test_the_last_rows_that_are_not_trained_keep_their_bits_although_they_have_gradients(
    case,
) -> None:
    word, arguments, _ = case
    weight = table(torch.float32)
    optimizer = made(weight, word, arguments)
    state = {key: tensor.clone() for key, tensor in optimizer.state[weight].items()}
    for step in range(1, STEPS + 1):
        weight.grad = gradient(step, weight)
        assert (weight.grad._indices() >= TRAINED).any()
        optimizer.step()
    assert torch.equal(weight.detach()[TRAINED:], table(torch.float32)[TRAINED:])
    for key, tensor in optimizer.state[weight].items():
        assert torch.equal(tensor[TRAINED:], state[key][TRAINED:])


def test_ids_that_repeat_count_once_with_the_sum_of_their_gradients(case) -> None:
    word, arguments, _ = case
    repeated, merged = table(), table()
    optimizers = [made(weight, word, arguments) for weight in (repeated, merged)]
    for step in range(1, STEPS + 1):
        repeated.grad = gradient(step, repeated)
        merged.grad = gradient(step, merged).coalesce()
        for optimizer in optimizers:
            optimizer.step()
    assert_close(repeated, merged, rtol=1e-12, atol=1e-12)


def test_a_step_without_ids_changes_nothing(case) -> None:
    word, arguments, _ = case
    weight = table()
    optimizer = made(weight, word, arguments)
    weight.grad = of_ids(torch.zeros(0, dtype=torch.int64), torch.zeros(0, WIDTH).double())
    optimizer.step()
    assert torch.equal(weight, table())


def test_adam_counts_the_steps_of_the_run_and_not_those_of_a_row() -> None:
    """At its first turn in step 3, a row's corrected means are m (1-b1)g / (1-b1^3)."""
    weight = table()
    arguments = ADAM | {"beta2": 0.99, "weight_decay": 0.0}
    optimizer = made(weight, "adam_optimizer", arguments)
    one = torch.ones(1, WIDTH).double()
    for row in (0, 0, 1):
        weight.grad = of_ids(torch.tensor([row]), one)
        optimizer.step()
    mean, square = 0.1 / (1 - 0.9**3), 0.01 / (1 - 0.99**3)
    assert_close(weight[1], table()[1] - LR * mean / (square**0.5 + EPS))


def test_gradients_are_divided_by_the_scale_of_the_loss(case) -> None:
    word, arguments, _ = case
    plain, scaled = table(), table()
    optimizers = made(plain, word, arguments), made(scaled, word, arguments)
    for step in range(1, STEPS + 1):
        plain.grad = gradient(step, plain)
        scaled.grad = gradient(step, scaled) * 1024.0
        optimizers[0].step()
        optimizers[1].step(torch.tensor(1024.0).double())
    assert torch.equal(plain, scaled), "a power of two shifts exponents only"


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_scaled_gradients_that_overflow_are_left_out(case, bad) -> None:
    word, arguments, _ = case
    weight = table()
    optimizer = made(weight, word, arguments)
    state = {key: tensor.clone() for key, tensor in optimizer.state[weight].items()}
    weight.grad = gradient(1, weight)
    weight.grad._values()[2, 1] = bad
    optimizer.step(torch.tensor(1024.0).double())
    assert torch.equal(weight, table())
    for key, tensor in optimizer.state[weight].items():
        assert torch.equal(tensor, state[key])


def test_every_table_steps_with_the_rate_that_is_set_last(case) -> None:
    """Two parameters in one optimizer equal two optimizers, whatever the rates were before."""
    word, arguments, _ = case
    both, alone = [table(), table()], [table(), table()]
    joint = sparse_optimizer([(w, TRAINED) for w in both], word, {"lr": LR, **arguments})
    single = [made(weight, word, arguments) for weight in alone]
    for step in range(1, STEPS + 1):
        for place, (one, other) in enumerate(zip(both, alone, strict=True)):
            one.grad, other.grad = (gradient(2 * step + place, w) for w in (one, other))
        for optimizer in (joint, *single):
            for group in optimizer.param_groups:
                group["lr"] = 0.3 / step
            optimizer.step()
    for one, other in zip(both, alone, strict=True):
        assert torch.equal(one, other)


def drawn(weight: Tensor, generator: torch.Generator, rows: int) -> None:
    weight.normal_(generator=generator)


def tables(*, mean: bool) -> Tables:
    init = Table("a", 6, 2, True, "", drawn)
    return Tables([init], [Bag("a", mean=mean)], seed=1).fill().double()


@pytest.mark.parametrize("mean", [False, True])
def test_clipping_acts_on_the_gradient_of_the_pooled_output(mean) -> None:
    """Before it is shared out to the ids by their weights and counts, and before they add up."""
    ids, lengths = torch.tensor([0, 1, 1, 2, 3]), torch.tensor([[3], [2]])
    factors = torch.tensor([0.5, 2.0, 1.0, -3.0, 1.0]).double()
    upstream = torch.tensor([[[5.0, -0.2]], [[-7.0, 0.9]]]).double()
    module = tables(mean=mean)
    module.gradient_bound = 0.9
    (module(ids, lengths, factors) * upstream).sum().backward()
    clamped = torch.tensor([[0.9, -0.2], [-0.9, 0.9]]).double()
    expected = torch.zeros(6, 2).double()
    for place, row in enumerate([0, 0, 0, 1, 1]):
        share = factors[place] / (lengths[row, 0] if mean else 1)
        expected[ids[place]] += share * clamped[row]
    assert_close(module.weight.grad.to_dense(), expected)


def test_clipping_is_off_unless_it_is_asked_for() -> None:
    module = tables(mean=False)
    (module(torch.tensor([4]), None, None) * 1e6).sum().backward()
    assert_close(module.weight.grad.to_dense()[4], torch.full((2,), 1e6).double())


NO_DECAY = {"weight_decay": 0.0}
WHOLE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # of both, and of the dense one alone
    "sgd_optimizer": ({}, NO_DECAY | {"momentum": 0.0, "dampening": 0.0, "nesterov": False}),
    "adagrad_optimizer": ({"initial_accumulator_value": 0.2, "eps": 1e-3}, NO_DECAY),
    "adam_optimizer": (ADAM | NO_DECAY, {"amsgrad": False}),
    "adadelta_optimizer": ({"rho": 0.9, "eps": 1e-3}, NO_DECAY),
    "rmsprop_optimizer": ({"alpha": 0.9, "eps": 1e-3}, NO_DECAY | {"momentum": 0.0}),
    "ftrl_optimizer": (CASES["ftrl (-0.8, 0.3, 0.4, 0.7)"][1], {}),
    "adamax_optimizer": (ADAM, NO_DECAY),
    "nadam_optimizer": (ADAM, NO_DECAY),
}


@pytest.mark.parametrize("word", WHOLE)
def test_a_table_that_is_whole_in_each_batch_learns_as_a_dense_parameter(word) -> None:
    """torch's optimizers, and Ftrl. (torch keeps NAdam's product of momenta in float32.)"""
    both, of_dense = WHOLE[word]
    sparse, dense = table(), table()
    one = sparse_optimizer([(sparse, ROWS)], word, {"lr": LR, **both})
    other = dense_optimizer([dense], word, {"lr": LR, **both, **of_dense})
    target = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(3)).double()
    for _ in range(STEPS):
        for weight, optimizer, is_sparse in ((sparse, one, True), (dense, other, False)):
            weight.grad = None
            rows = F.embedding(torch.arange(ROWS), weight, sparse=is_sparse)
            ((rows - target) ** 2).sum().backward()
            optimizer.step()
    tolerance = 1e-6 if word == "nadam_optimizer" else 1e-10
    assert_close(sparse, dense, rtol=tolerance, atol=tolerance)
    assert (sparse != table()).all()


def test_a_dense_gradient_moves_every_trained_row_as_a_sparse_one_of_all_rows(case) -> None:
    """As a term over the whole table gives it, together with the rows of the batch."""
    word, arguments, _ = case
    sparse, dense = table(), table()
    optimizers = made(sparse, word, arguments), made(dense, word, arguments)
    for step in range(1, STEPS + 1):
        values = gradient(step, dense).to_dense() + 0.02 * dense.detach()
        dense.grad = values.clone()
        sparse.grad = of_ids(torch.arange(ROWS), values)
        for optimizer in optimizers:
            optimizer.step()
        assert torch.equal(dense.grad, values)
    assert torch.equal(sparse, dense)
    assert torch.equal(dense[TRAINED:], table()[TRAINED:])
    assert (dense[:TRAINED] != table()[:TRAINED]).all()


def test_a_lookup_and_a_term_over_the_whole_table_add_up_to_a_dense_gradient() -> None:
    weight = table()
    optimizer = made(weight, "sgd_optimizer", {})
    looked_up = F.embedding(torch.tensor([1, 1, 4]), weight, sparse=True).sum()
    (looked_up + 0.5 * weight.square().sum()).backward()
    optimizer.step()
    expected = table().detach()
    expected[:TRAINED] *= 1 - LR
    expected[1] -= 2 * LR
    expected[4] -= LR
    assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("beta1", [0.0, 0.9, 0.999999])
def test_nadams_product_of_momenta_follows_from_the_step_alone(beta1) -> None:
    """An optimizer that is set to step 5,000 moves a fresh row as one that took all steps."""
    walked, placed = table(), table()
    arguments = {"beta1": beta1, "beta2": 0.9, "eps": EPS}
    first, second = (made(weight, "nadam_optimizer", arguments) for weight in (walked, placed))
    one = torch.ones(1, WIDTH).double()
    for done in (*range(30), 4999):
        first.steps = done
        walked.grad = of_ids(torch.tensor([0]), one)
        first.step()
    second.steps = 4999
    for weight, optimizer in ((walked, first), (placed, second)):
        optimizer.steps = 4999
        weight.grad = of_ids(torch.tensor([1]), one)
        optimizer.step()
    assert torch.equal(walked[1], placed[1])
    row = {"w": table()[1].detach().numpy().copy()}
    nadam(beta1, 0.9, EPS)(row, np.ones(WIDTH), 5000)
    assert_close(placed[1].detach(), torch.from_numpy(row["w"]), rtol=1e-12, atol=1e-12)
