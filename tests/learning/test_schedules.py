"""Learning rates against values computed by hand from TorchEasyRec's formulas."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tzmmoe.errors import ConfigError
from tzmmoe.learning.schedules import schedule

EXPONENTIAL = {
    "decay_size": 10,
    "decay_factor": 0.5,
    "staircase": True,
    "warmup_learning_rate": 0.0,
    "warmup_size": 0,
    "min_learning_rate": 0.0,
    "by_epoch": False,
}
MANUAL = {
    "schedule_sizes": (10, 20),
    "learning_rates": (0.1, 0.01),
    "warmup": False,
    "by_epoch": False,
}
COSINE = {
    "T_max": 8,
    "min_learning_rate": 0.0,
    "warmup_learning_rate": 0.0,
    "warmup_size": 0,
    "by_epoch": False,
}
RESTARTS = {
    "T_0": 4,
    "T_mult": 1,
    "min_learning_rate": 0.0,
    "warmup_learning_rate": 0.0,
    "warmup_size": 0,
    "by_epoch": False,
}
BASES = {
    "exponential_decay_learning_rate": EXPONENTIAL,
    "manual_step_learning_rate": MANUAL,
    "cosine_annealing_learning_rate": COSINE,
    "cosine_annealing_warm_restarts_learning_rate": RESTARTS,
}
HALF_ROOT = math.sqrt(0.5)


def rates(word: str, lr: float, steps: dict[int, float], **changes: Any) -> None:
    made = schedule(lr, word, BASES[word] | changes)
    found = {s: made.at(s, epoch=0) for s in steps}
    assert found == pytest.approx(steps, rel=1e-12, abs=1e-15)


def test_a_constant_rate_and_an_unset_one_are_the_base() -> None:
    for word in ("constant_learning_rate", None):
        made = schedule(0.3, word, {})
        assert [made.at(s, s) for s in (0, 1, 10**6)] == [0.3] * 3


@pytest.mark.parametrize("word", BASES)
@pytest.mark.parametrize("warmup", [False, True])
def test_a_base_of_zero_is_the_limit_of_small_ones(word, warmup) -> None:
    """It moves to the listed rates, the minimum and the warm-up's rate as any other does."""
    changes = {
        name: value
        for name, value in {
            "warmup_learning_rate": 0.5 * warmup,
            "warmup_size": 5 * warmup,
            "min_learning_rate": 0.25,
            "warmup": warmup,
        }.items()
        if name in BASES[word]
    }
    zero, tiny = (schedule(lr, word, BASES[word] | changes) for lr in (0.0, 1e-13))
    found, wanted = ([made.at(s, s) for s in range(50)] for made in (zero, tiny))
    assert found == pytest.approx(wanted, rel=0, abs=1e-12)
    assert max(found) > 0


def test_exponential_decay_falls_in_stairs() -> None:
    steps = {0: 0.8, 9: 0.8, 10: 0.4, 19: 0.4, 20: 0.2, 35: 0.1}
    rates("exponential_decay_learning_rate", 0.8, steps)


def test_exponential_decay_without_staircase_falls_continuously() -> None:
    steps = {0: 0.8, 5: 0.8 * HALF_ROOT, 10: 0.4, 15: 0.4 * HALF_ROOT, 20: 0.2}
    rates("exponential_decay_learning_rate", 0.8, steps, staircase=False)


def test_exponential_decay_ends_at_the_minimum() -> None:
    steps = {0: 0.8, 10: 0.4, 20: 0.3, 30: 0.3, 10_000: 0.3}
    rates("exponential_decay_learning_rate", 0.8, steps, min_learning_rate=0.3)


def test_exponential_decay_counts_from_the_end_of_the_warm_up() -> None:
    """Steps 0 to 4 rise from 0.2 by 0.12 each; the first fall is at 5 + 10."""
    steps = {0: 0.2, 1: 0.32, 4: 0.68, 5: 0.8, 14: 0.8, 15: 0.4, 25: 0.2}
    changes = {"warmup_learning_rate": 0.2, "warmup_size": 5}
    rates("exponential_decay_learning_rate", 0.8, steps, **changes)


def test_a_manual_step_takes_effect_one_step_after_its_own() -> None:
    """bisect_left: at s = 10 the first rate does not hold yet."""
    steps = {0: 0.5, 9: 0.5, 10: 0.5, 11: 0.1, 20: 0.1, 21: 0.01, 10**6: 0.01}
    rates("manual_step_learning_rate", 0.5, steps)


def test_a_manual_warm_up_moves_linearly_to_the_first_rate() -> None:
    steps = {0: 0.5, 5: 0.3, 9: 0.14, 10: 0.1, 11: 0.1, 20: 0.1, 21: 0.01}
    rates("manual_step_learning_rate", 0.5, steps, warmup=True)


def test_a_manual_step_of_zero_takes_effect_at_once() -> None:
    for warmup in (False, True):
        steps = {0: 0.5, 1: 0.1, 4: 0.1}
        changes = {"schedule_sizes": (0,), "learning_rates": (0.1,), "warmup": warmup}
        rates("manual_step_learning_rate", 0.5, steps, **changes)


def test_the_cosine_ends_at_its_minimum_and_stays_there() -> None:
    """With min 0.2 and base 1: 0.2 + 0.4 (1 + cos(pi s / 8))."""
    steps = {
        0: 1.0,
        2: 0.6 + 0.4 * HALF_ROOT,
        4: 0.6,
        6: 0.6 - 0.4 * HALF_ROOT,
        8: 0.2,
        9: 0.2,
        1000: 0.2,
    }
    rates("cosine_annealing_learning_rate", 1.0, steps, min_learning_rate=0.2)


def test_the_cosine_begins_after_the_warm_up() -> None:
    steps = {0: 0.1, 1: 0.4, 2: 0.7, 3: 1.0, 7: 0.5, 11: 0.0, 12: 0.0}
    changes = {"warmup_learning_rate": 0.1, "warmup_size": 3}
    rates("cosine_annealing_learning_rate", 1.0, steps, **changes)


def test_warm_restarts_begin_anew_after_each_period() -> None:
    low, high = 0.5 - HALF_ROOT / 2, 0.5 + HALF_ROOT / 2
    steps = {0: 1.0, 1: high, 2: 0.5, 3: low, 4: 1.0, 5: high, 7: low, 8: 1.0, 4_000_002: 0.5}
    rates("cosine_annealing_warm_restarts_learning_rate", 1.0, steps)


def test_periods_of_warm_restarts_grow_by_their_factor() -> None:
    """Periods of 4, 12 and 36 steps begin at 0, 4 and 16; half of each is 2, 10 and 34."""
    low = 0.5 - HALF_ROOT / 2
    steps = {0: 1.0, 2: 0.5, 3: low, 4: 1.0, 10: 0.5, 13: low, 16: 1.0, 34: 0.5, 43: low, 52: 1.0}
    rates("cosine_annealing_warm_restarts_learning_rate", 1.0, steps, T_mult=3)


def test_warm_restarts_count_from_the_end_of_the_warm_up() -> None:
    steps = {0: 0.0, 1: 0.5, 2: 1.0, 4: 0.6, 6: 1.0}
    changes = {"warmup_size": 2, "min_learning_rate": 0.2}
    rates("cosine_annealing_warm_restarts_learning_rate", 1.0, steps, **changes)


@given(s=st.integers(0, 5000), first=st.integers(1, 20), factor=st.integers(1, 4))
def test_warm_restarts_equal_a_walk_through_the_periods(s, first, factor) -> None:
    begin, period = 0, first
    while begin + period <= s:
        begin, period = begin + period, period * factor
    expected = 0.5 * (1 + math.cos(math.pi * (s - begin) / period))
    made = schedule(
        1.0,
        "cosine_annealing_warm_restarts_learning_rate",
        RESTARTS | {"T_0": first, "T_mult": factor},
    )
    assert made.at(s, 0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("word", BASES)
def test_by_epoch_counts_epochs_in_the_place_of_steps(word) -> None:
    by_step = schedule(0.7, word, BASES[word])
    by_epoch = schedule(0.7, word, BASES[word] | {"by_epoch": True})
    for s in range(60):
        assert by_epoch.at(step=1234, epoch=s) == by_step.at(step=s, epoch=9)


@pytest.mark.parametrize(
    ("word", "changes", "path"),
    [
        ("exponential_decay_learning_rate", {"decay_size": None}, "decay_size"),
        ("exponential_decay_learning_rate", {"decay_size": 0}, "decay_size"),
        ("exponential_decay_learning_rate", {"decay_factor": 0.0}, "decay_factor"),
        ("manual_step_learning_rate", {"schedule_sizes": ()}, "schedule_sizes"),
        ("manual_step_learning_rate", {"schedule_sizes": (20, 10)}, "schedule_sizes"),
        ("manual_step_learning_rate", {"schedule_sizes": (10, 10)}, "schedule_sizes"),
        ("manual_step_learning_rate", {"learning_rates": (0.1,)}, "schedule_sizes"),
        ("manual_step_learning_rate", {"learning_rates": (0.1, -0.1)}, "learning_rates"),
        ("cosine_annealing_learning_rate", {"T_max": None}, "T_max"),
        ("cosine_annealing_warm_restarts_learning_rate", {"T_0": 0}, "T_0"),
        ("cosine_annealing_warm_restarts_learning_rate", {"T_mult": 0}, "T_mult"),
        *(
            (word, {field: bad}, field)
            for word in BASES
            for field in ("warmup_learning_rate", "min_learning_rate")
            for bad in (-0.1, math.nan)
            if field in BASES[word]
        ),
    ],
)
def test_a_schedule_that_cannot_be_names_the_field(word, changes, path) -> None:
    with pytest.raises(ConfigError) as caught:
        schedule(0.1, word, BASES[word] | changes)
    assert [fault.path for fault in caught.value.faults] == [path]
