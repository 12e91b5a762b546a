"""What tests share. Its being here also puts this folder on the path, for ``e2e.tiny``."""

from pathlib import Path

import pytest
import torch
from e2e import tiny

# Runs are compared bit for bit with runs of other processes, which have one thread too.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set in Parquet with its config; read it, and write elsewhere."""
    return tiny.write_all(tmp_path_factory.mktemp("tiny"))
