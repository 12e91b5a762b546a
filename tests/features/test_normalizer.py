"""raw_feature.normalizer: the formulas of torcheasyrec.md 3.7, and faults by name."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.errors import ConfigError
from tzmmoe.features.normalizer import normalizer

NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.floats(0, 1e-8), max_size=8)


def log10(threshold: float, default: float) -> Callable[[float], float]:
    return lambda x: math.log10(x) if x > threshold else default


MEANINGS: dict[str, Callable[[float], float]] = {
    "method=log10": log10(1e-10, -10),
    "method=log10,threshold=1e-10,default=-10": log10(1e-10, -10),
    "method=log10,threshold=2.5,default=7": log10(2.5, 7),
    "method=log10,default=0": log10(1e-10, 0),
    "method=zscore,mean=3,standard_deviation=2": lambda x: (x - 3) / 2,
    "method=zscore,standard_deviation=0.5,mean=-1e3": lambda x: (x + 1000) / 0.5,
    " method = zscore , mean = 3 , standard_deviation = 2 ": lambda x: (x - 3) / 2,
    "method=minmax,min=-2,max=8": lambda x: (x + 2) / 10,
    "method=expression,expr=sign(x)": lambda x: math.copysign(1, x) if x else 0,
    "method=expression,expr=clip(x, 0, 1)": lambda x: min(max(x, 0), 1),
    "method=expression,expr=1 if x >= 2 else 0": lambda x: 1 if x >= 2 else 0,
    "method=expression, expr = x == 2": lambda x: float(x == 2),
}


@pytest.mark.parametrize("text", MEANINGS)
@settings(deadline=None, max_examples=25)
@given(numbers=NUMBERS)
def test_a_normalizer_is_its_formula_for_each_number(text: str, numbers: list[float]) -> None:
    expected = [MEANINGS[text](number) for number in numbers]
    found = normalizer(text)(np.array(numbers, np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("x", [1e-10, 0.0, -5.0])
def test_log10_at_its_threshold_is_the_default(x: float) -> None:
    assert normalizer("method=log10,threshold=1e-10,default=-10")(np.array([x])).tolist() == [-10]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("zscore", "method="),
        ("", "method="),
        ("mean=0,method=zscore", "method="),
        ("method=zscor,mean=0", r"no method 'zscor'; give one of .*; did you mean 'zscore'\?$"),
        ("method=", "no method ''"),
        ("method=zscore", "mean and standard_deviation"),
        ("method=zscore,mean=0", "add standard_deviation"),
        ("method=minmax,min=0", "add max"),
        ("method=minmax,min=1,max=1", "divide by 0"),
        ("method=minmax,min=2,max=1", "divide by -1"),
        ("method=zscore,mean=0,standard_deviation=0", "divide by 0"),
        ("method=zscore,mean=0,standard_deviation=-1", "divide by -1"),
        ("method=zscore,mean=nan,standard_deviation=1", "'nan' "),
        ("method=minmax,min=-inf,max=0", "'-inf' "),
        ("method=log10,threshold=x", "'x' "),
        ("method=log10,threshold", "'' "),
        ("method=log10,treshold=1", "no argument 'treshold'; did you mean 'threshold'"),
        ("method=log10,default=1,default=2", "default .*twice"),
        ("method=expression", "expr="),
        ("method=expression,expr", "expr="),
        ("method=expression,sign(x)", "expr="),
        ("method=expression,expr=y + 1", "no variable 'y'"),
        ("method=expression,expr=__import__('os')", "no function '__import__'"),
    ],
)
def test_a_normalizer_that_makes_no_sense_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as raised:
        normalizer(text)
    assert [each.path for each in raised.value.faults] == ["normalizer"]
