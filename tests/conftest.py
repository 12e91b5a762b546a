"""What tests share. Its being here also puts this folder on the path, for ``e2e.tiny``."""

import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from e2e import tiny
from hypothesis import settings
from ranks import Ranks, ranks
from same_numbers import write_for

# Runs are compared bit for bit with runs of other processes, which have one thread too.
torch.set_num_threads(1)

# Without deadlines: the machine may be busy. `make test` tries some examples, `make test-rest`
# all of them.
settings.register_profile("all", deadline=None)
settings.register_profile("some", deadline=None, max_examples=30)
settings.load_profile("all")

# Before and after each test, pytest visits all loggers that do not propagate. torch has dozens.
for logger in logging.root.manager.loggerDict.values():
    if isinstance(logger, logging.Logger) and logger.name.startswith("torch"):
        logger.propagate = True


def pytest_collection_finish() -> None:
    """Spare the garbage collector the objects that exist before the first test, which all stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set in Parquet with its config; read it, and write elsewhere."""
    return tiny.write_all(tmp_path_factory.mktemp("tiny"))


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
    """The same rows for one, two and four processes."""
    return write_for((1, 2, 4), tmp_path_factory.mktemp("data"))
