"""What tests of commands and their paths begin with."""

import shutil
from pathlib import Path

import pytest

from tzmmoe.pipeline import Pipeline


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model in ``run`` and its ``export``, beside the data."""
    made = tmp_path_factory.mktemp("trained") / "tiny"
    shutil.copytree(tiny_folder, made)
    settings = {"model_dir": str(made / "run"), "train_config.num_steps": 2}
    run = Pipeline.load(made / "tiny.config", settings=settings)
    run.fit()
    run.export(str(made / "export"))
    return made
