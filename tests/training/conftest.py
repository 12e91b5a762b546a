"""Two processes, four, and the same rows for one, two and four of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ranks import Ranks, ranks
from same_numbers import write_for


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    with ranks(2) as made:
        yield made


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    with ranks(4) as made:
        yield made


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return write_for((1, 2, 4), tmp_path_factory.mktemp("data"))
