"""FTRL of the dense part against its formula, and against what it minimises: S0.62."""

import numpy as np
import pytest
import torch
from row_definitions import CASES, LR
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from tzmmoe.learning.optimizers import dense_optimizer
from tzmmoe.tables.ftrl import Ftrl

FTRL = {name: case for name, case in CASES.items() if name.startswith("ftrl")}
STEPS = 25
PLAIN = {
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.1,
    "l1_reg": 0.0,
    "l2_reg": 0.0,
}


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)).double())


def gradients(*shape: int) -> torch.Tensor:
    """One for each step, of which some numbers are 0."""
    source = torch.Generator().manual_seed(1)
    found = torch.randn((STEPS, *shape), generator=source).double()
    return found * (torch.rand(found.shape, generator=source) < 0.7)


@pytest.mark.parametrize(("word", "arguments", "update"), FTRL.values(), ids=FTRL)
@pytest.mark.parametrize("shape", [(), (7,), (3, 4)], ids=str)
def test_many_steps_equal_the_formula_number_by_number(shape, word, arguments, update) -> None:
    weight = parameter(*shape)
    optimizer = dense_optimizer([weight], word, {"lr": LR, **arguments})
    row = {"w": weight.detach().reshape(-1).numpy().copy()}
    for step, grad in enumerate(gradients(*shape), 1):
        weight.grad = grad
        optimizer.step()
        update(row, grad.reshape(-1).numpy(), step)
    found = weight.detach().reshape(-1)
    assert_close(found, torch.from_numpy(row["w"]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("l1", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_a_weight_minimises_the_regularized_sum_of_the_steps(l1, l2) -> None:
    """z w + l1 |w| + (n^-p / (2 lr) + l2) w^2: no other weight on a fine grid is below it."""
    weight = parameter(40)
    optimizer = Ftrl([weight], lr=LR, **PLAIN | {"l1_reg": l1, "l2_reg": l2})
    for grad in gradients(40):
        weight.grad = grad
        optimizer.step()
    n, z = (optimizer.state[weight][key].numpy() for key in ("sum", "linear"))
    found = weight.detach().numpy()

    def objective(w: np.ndarray) -> np.ndarray:
        return z * w + l1 * np.abs(w) + (np.sqrt(n) / (2 * LR) + l2) * w**2

    others = np.linspace(-3, 3, 6001)[:, None]
    assert (objective(found) <= objective(others).min(axis=0) + 1e-12).all()
    assert (objective(found) <= objective(found + 1e-4)).all()
    assert (objective(found) <= objective(found - 1e-4)).all()


def test_l1_gives_exact_zeros_where_and_only_where_the_sum_of_the_steps_is_small() -> None:
    """Of 40 inputs 4 tell something of the label: a strong l1 keeps these, a huge one nothing."""
    source = torch.Generator().manual_seed(2)
    inputs = torch.randn(2000, 40, generator=source)
    labels = (inputs[:, :4].sum(dim=1) > 0).float()
    kept = []
    for l1 in (0.0, 1.0, 1e4):
        weight = nn.Parameter(torch.zeros(40))
        optimizer = Ftrl([weight], lr=0.5, **PLAIN | {"l1_reg": l1})
        for rows in torch.arange(2000).split(50):
            weight.grad = None
            logits = inputs[rows] @ weight
            F.binary_cross_entropy_with_logits(logits, labels[rows]).backward()
            optimizer.step()
            assert torch.equal(weight == 0, optimizer.state[weight]["linear"].abs() <= l1)
        kept.append(torch.nonzero(weight.detach()).flatten().tolist())
    assert kept == [list(range(40)), [0, 1, 2, 3], []]


def test_without_regularization_and_from_zero_it_is_adagrad() -> None:
    """At one rate: w = -lr z / sqrt(n), so that each step is lr g / sqrt(n)."""
    ours, theirs = (nn.Parameter(torch.zeros(30).double()) for _ in range(2))
    first = Ftrl([ours], lr=LR, **PLAIN)
    second = torch.optim.Adagrad([theirs], lr=LR, initial_accumulator_value=0.1, eps=0.0)
    for grad in gradients(30):
        ours.grad, theirs.grad = grad, grad.clone()
        first.step()
        second.step()
        assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_at_a_rate_of_zero_nothing_moves() -> None:
    """As at the first step of a warm-up that begins at 0; the formula divides by the rate."""
    weight = parameter(5)
    optimizer = Ftrl([weight], lr=0.0, **PLAIN)
    weight.grad = torch.ones(5).double()
    optimizer.step()
    assert torch.equal(weight, parameter(5))
    assert (optimizer.state[weight]["sum"] == 0.1).all()
    assert (optimizer.state[weight]["linear"] == 0).all()


def test_parameters_without_gradient_and_all_gradients_stay() -> None:
    used, unused = parameter(3), parameter(2)
    optimizer = Ftrl([used, unused], lr=LR, **PLAIN)
    used.grad = torch.ones(3).double()
    optimizer.step()
    assert not torch.equal(used, parameter(3))
    assert torch.equal(unused, parameter(2))
    assert torch.equal(used.grad, torch.ones(3).double())
