"""Cases of which `make test` runs some, and `make test-rest` the others."""

from collections.abc import Iterable

import pytest


def some(cases: Iterable, *usual: object) -> list:
    """All cases; those that are not among the usual ones are long. A case may be a tuple."""
    made = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        made.append(pytest.param(*values, marks=() if case in usual else pytest.mark.long))
    assert all(case in cases for case in usual), "a usual case is none"
    return made
