"""Random weights of losses: a function of seed and step, with the mean that evaluations use."""

import pytest
import torch

from tzmmoe.tasks.weighting import RandomWeighting

KEYS = ["a_ctr", "b_ctr", "a_cvr"]


def drawn(seed: int, step: int, keys: list[str] = KEYS) -> dict[str, float]:
    weighting = RandomWeighting(keys, seed)
    weighting.begin(step)
    one, yes = torch.ones(()), torch.tensor(True)
    return {key: float(weighting.weighted(key, one, yes)) for key in keys}


def test_random_weights_follow_from_seed_step_and_losses_alone() -> None:
    first = drawn(1, 7)
    torch.rand(3)
    assert drawn(1, 7) == first == drawn(1, 7, KEYS[::-1])
    assert drawn(1, 8) != first != drawn(2, 7)
    assert sum(first.values()) == pytest.approx(1, abs=1e-6)


def test_their_mean_over_steps_is_that_of_evaluations() -> None:
    weighting = RandomWeighting(KEYS, 3)
    steps = [drawn(3, step) for step in range(3000)]
    for key in KEYS:
        mean = sum(step[key] for step in steps) / len(steps)
        assert mean == pytest.approx(weighting.evaluated(key, 1.0), abs=0.02)
    assert weighting.evaluated("a_ctr", 3.0) == pytest.approx(1.0)
