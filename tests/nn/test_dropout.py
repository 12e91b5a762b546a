"""Dropout: how often, how independent, and what is left of the mean."""

import math

import pytest
import torch

from tzmmoe.nn.mlp import Dropout


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("ratio", [0.0, 1e-3, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", [(1_000_003,), (1000, 77), (50, 20, 33)])
def test_the_share_of_zeros_is_the_ratio_and_the_rest_is_scaled(ratio, shape) -> None:
    """Within five standard deviations of the binomial distribution, and the rounding to 2^-16."""
    y = Dropout(ratio)(torch.ones(shape))
    share = (y == 0).double().mean().item()
    deviation = math.sqrt(ratio * (1 - ratio) / y.numel())
    assert abs(share - ratio) <= 5 * deviation + 2**-17
    assert y.shape == shape
    kept = y[y != 0]
    assert torch.allclose(kept, torch.tensor(1 / (1 - ratio)), rtol=2**-17 / (1 - ratio) + 1e-6)


def test_neighbours_are_dropped_independently() -> None:
    """Four of them share a draw of 64 bits."""
    dropped = (Dropout(0.3)(torch.ones(400_000)) == 0).double().view(-1, 4)
    correlations = torch.corrcoef(dropped.T).fill_diagonal_(0)
    assert correlations.abs().max() < 5 / math.sqrt(len(dropped))
    assert torch.allclose(dropped.mean(0), torch.tensor(0.3).double(), atol=0.01)


def test_gradients_are_those_of_the_numbers_that_are_kept() -> None:
    x = torch.randn(3000, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)
    kept = y != 0
    assert torch.allclose(x.grad[kept] * x[kept], y[kept])


def test_draws_follow_the_seed_and_differ_from_step_to_step() -> None:
    layer, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(5)
    first, second = layer(x), layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_evaluation_keeps_everything() -> None:
    x = torch.randn(7, 5)
    assert Dropout(0.9).eval()(x) is x


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_type_stays(dtype: torch.dtype) -> None:
    assert Dropout(0.5)(torch.ones(8, dtype=dtype)).dtype == dtype


def test_no_numbers_are_no_problem() -> None:
    assert Dropout(0.5)(torch.ones(0, 3)).shape == (0, 3)
