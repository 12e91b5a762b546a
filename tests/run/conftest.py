"""Runs that tests of this folder begin with."""

import shutil
from pathlib import Path

import pytest
from e2e import tiny
from run.runs import ONE_EPOCH


@pytest.fixture(scope="session")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model_dir of a run over one epoch; read it, and copy it to go on."""
    model_dir = tmp_path_factory.mktemp("finished") / "run"
    tiny.pipeline(tiny_folder, model_dir, **ONE_EPOCH).fit()
    return model_dir


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of that model_dir."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"
