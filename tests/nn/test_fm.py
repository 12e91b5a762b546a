"""The factorization machine against its definition: all pairs of fields, one after the other."""

import itertools

import parts
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.nn.interactions.fm import factorization_machine


def drawn(num_rows: int, num_fields: int, num_heads: int, width: int) -> tuple[Tensor, Tensor]:
    """Weights (B, N, T) and latents (B, N, K)."""
    weights = parts.normal(num_rows, num_fields, num_heads)
    return weights, parts.normal(num_rows, num_fields, width, seed=1)


def by_pairs(weights_BNT: Tensor, latents_BNK: Tensor) -> Tensor:
    """sum_i w_i + sum_{i < j} <v_i, v_j>, Rendle's eq. 1 without its global bias."""
    rows = []
    for weights_NT, latents_NK in zip(weights_BNT, latents_BNK, strict=True):
        pairs = itertools.combinations(latents_NK, 2)
        together = sum(sum(a * b for a, b in zip(v, w, strict=True)) for v, w in pairs)
        rows.append(torch.stack([sum(column) + together for column in weights_NT.T]))
    return torch.stack(rows)


@pytest.mark.parametrize("num_fields", [1, 2, 7])
@pytest.mark.parametrize("num_heads", [1, 3])
@pytest.mark.parametrize("width", [1, 4])
def test_the_logits_are_weights_and_products_of_all_pairs(
    num_fields: int, num_heads: int, width: int
) -> None:
    """A logit, no probability, and without a global bias."""
    weights, latents = drawn(5, num_fields, num_heads, width)
    assert_close(factorization_machine(weights, latents), by_pairs(weights, latents))


def test_real_size_in_single_precision_stays_near_the_pairs() -> None:
    """40 fields of width 16: the square of the sum is far larger than what is left of it."""
    weights, latents = (each.float() for each in drawn(300, 40, 1, 16))
    wanted = by_pairs(weights.double()[:20], latents.double()[:20])
    assert_close(factorization_machine(weights, latents)[:20].double(), wanted, rtol=0, atol=1e-3)


def test_the_order_of_the_fields_does_not_matter() -> None:
    weights, latents = drawn(6, 5, 2, 3)
    order = torch.tensor([3, 0, 4, 1, 2])
    found = factorization_machine(weights[:, order], latents[:, order])
    assert_close(found, factorization_machine(weights, latents))


def test_without_latents_or_pairs_the_weights_alone_are_left() -> None:
    """That is the classic logistic regression, with one weight for each category."""
    weights, latents = drawn(6, 5, 2, 3)
    alone = weights.sum(dim=1)
    assert_close(factorization_machine(weights, torch.zeros_like(latents)), alone)
    assert_close(factorization_machine(weights, latents[:, :, :0]), alone)
    one = factorization_machine(weights[:, :1], latents[:, :1])
    assert_close(one, weights[:, 0])


def test_a_field_enters_linearly() -> None:
    """Twice a number is twice its weight and twice its vector: the logit moves on a line."""
    weights, latents = drawn(6, 5, 1, 3)
    found = []
    for number in (0.0, 1.0, 2.0):
        scale = torch.ones(5, 1, dtype=torch.float64)
        scale[2] = number
        found.append(factorization_machine(weights * scale, latents * scale))
    assert_close(found[2] - found[1], found[1] - found[0])


def test_no_rows_give_no_logits() -> None:
    weights, latents = drawn(0, 5, 2, 3)
    assert factorization_machine(weights, latents).shape == (0, 2)


def test_gradients_equal_finite_differences() -> None:
    weights, latents = drawn(3, 4, 2, 3)
    arguments = (weights.requires_grad_(), latents.requires_grad_())
    assert gradcheck(factorization_machine, arguments)
