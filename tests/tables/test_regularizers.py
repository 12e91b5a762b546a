"""Penalties of weights against sums by hand."""

from collections.abc import Mapping

import parts
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.mlp import MLP
from tzmmoe.tables.penalties import Penalty, penalize, penalized, regularization
from tzmmoe.tables.table import Bag, Tables, Vectors

BOTH = [(0.0, 0.0), (0.3, 0.0), (0.0, 0.7), (0.3, 0.7)]


def by_hand(weights: Mapping[str, torch.Tensor], l1: float, l2: float) -> float:
    """l1 sum |w| + l2 sum w^2, number by number."""
    numbers = [number for weight in weights.values() for number in weight.flatten().tolist()]
    return sum(l1 * abs(number) + l2 * number * number for number in numbers)


def tables(*, frozen: bool = False, unread: bool = False) -> Tables:
    made = [parts.table("a", 5, 3), parts.table("b", 4, 3, trainable=not frozen)]
    slots = [Bag("a", mean=False), *[None] * unread, Bag("b", mean=False)]
    return Tables(made, slots, seed=0).fill().double()


@pytest.mark.parametrize(("l1", "l2"), BOTH)
def test_a_penalty_is_that_of_kerass_l1l2(l1: float, l2: float) -> None:
    """S0.25, S0.26: sum |w| and sum w^2, without a half and without a mean."""
    weight = parts.normal(4, 5, 2)
    assert_close(Penalty(l1, l2)(weight).item(), by_hand({"": weight}, l1, l2))


def test_its_gradient_is_l1_sign_and_2_l2_w_and_nothing_at_zero() -> None:
    weight = parts.normal(4, 5).requires_grad_()
    assert gradcheck(Penalty(0.3, 0.7), (weight,))
    [grad] = torch.autograd.grad(Penalty(0.3, 0.7)(weight), weight)
    assert_close(grad, 0.3 * weight.sign() + 1.4 * weight)
    zero = torch.zeros(3, requires_grad=True)
    [grad] = torch.autograd.grad(Penalty(0.3, 0.7)(zero), zero)
    assert torch.equal(grad, torch.zeros(3))


@pytest.mark.parametrize(("l1", "l2"), BOTH)
def test_every_kernel_and_table_within_a_module_counts_and_no_bias_and_no_norm(
    l1: float, l2: float
) -> None:
    settings = parts.PLAIN | {"activation": "nn.PReLU"}
    numbers = Vectors("n", 2, 3, parts.table("n", 2, 3).init, seed=0).double()
    whole = nn.ModuleDict(
        {
            "plain": MLP(6, hidden_units=[5, 4], copies=3, **settings),
            "normed": MLP(4, hidden_units=[3], **settings | {"use_bn": True}),
            "linear": nn.Linear(3, 2),
            "tables": tables(),
            "numbers": numbers,
        }
    )
    penalize(parts.shaken(whole), Penalty(l1, l2))
    kernels = {
        name: weight
        for name, weight in whole.named_parameters()
        if name.endswith("linear.weight") or name in ("tables.weight", "numbers.weight")
    }
    assert len(kernels) == 6
    found = regularization(penalized(whole))
    if not l1 and not l2:
        assert found is None
    else:
        assert_close(found.item(), by_hand(kernels, l1, l2))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("unread", [False, True])
def test_of_tables_the_trained_rows_count_all_of_them_and_no_others(
    frozen: bool, unread: bool
) -> None:
    made = tables(frozen=frozen, unread=unread)
    penalize(made, Penalty(0.0, 0.5))
    counted = {name: made.rows_of(name, made.weight) for name in ("a", "b")[: 1 if frozen else 2]}
    assert_close(regularization(penalized(made)).item(), by_hand(counted, 0.0, 0.5))
    made(torch.tensor([1, 7, 2] if unread else [1, 2]), None, None).sum().backward()
    regularization(penalized(made)).backward()
    assert not made.weight.grad.is_sparse
    touched = torch.zeros(len(made.weight), 1, dtype=torch.float64)
    for name, row in (("a", 1), ("b", 2)):
        touched[made.spans[name][0] + row] = 1
    decayed = made.weight.detach().clone()
    decayed[made.trained_rows :] = 0
    assert_close(made.weight.grad, touched + decayed)


def test_parts_with_penalties_of_their_own_add_up() -> None:
    whole = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)]).double()
    penalize(whole[0], Penalty(0.1, 0.0))
    penalize(whole[2], Penalty(0.0, 0.2))
    wanted = by_hand({"": whole[0].weight}, 0.1, 0) + by_hand({"": whole[2].weight}, 0, 0.2)
    assert_close(regularization(penalized(whole)).item(), wanted)
    whole.zero_grad()
    regularization(penalized(whole)).backward()
    assert whole[1].weight.grad is None
    assert all(layer.bias.grad is None for layer in whole)


def test_without_penalties_there_is_nothing_to_add() -> None:
    """S0.39: 0 is none; lookups keep their sparse gradients."""
    whole = nn.ModuleList([nn.Linear(3, 2), tables()])
    penalize(whole, Penalty.of("wide", 0.0, 0.0))
    assert regularization(penalized(whole)) is None
    assert whole[1].sparse


@pytest.mark.parametrize(("l1", "l2", "path"), [(-1, 0, "gate_l1_reg"), (0, -0.1, "gate_l2_reg")])
def test_a_negative_one_is_a_fault_at_its_field(l1: float, l2: float, path: str) -> None:
    with pytest.raises(ConfigError, match="give 0 or more") as error:
        Penalty.of("gate", l1, l2)
    assert [fault.path for fault in error.value.faults] == [path]
