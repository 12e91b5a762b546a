"""Test cases of which `make test` runs some, and `make test-rest` the others."""

from collections.abc import Iterable

import pytest


def some(cases: Iterable, *usual: object) -> list:
    """All cases as parameters, marked as long unless they are ``usual``. A tuple is several."""
    cases = list(cases)
    assert all(case in cases for case in usual), "a usual case is not among the cases"
    parameters = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marks = () if case in usual else pytest.mark.long
        parameters.append(pytest.param(*values, marks=marks))
    return parameters
