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

# A machine that is shared may take its time. `make test` tries some examples, `make test-rest` all.
settings.register_profile("all", deadline=None)
settings.register_profile("some", deadline=None, max_examples=30)
settings.load_profile("all")

# Before and after each test pytest goes through all loggers that do not propagate: dozens of torch.
for each in logging.root.manager.loggerDict.values():
    if isinstance(each, logging.Logger) and each.name.startswith("torch"):
        each.propagate = True


def pytest_collection_finish() -> None:
    """What is there before the first test stays, so the garbage collector need not look at it."""
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
