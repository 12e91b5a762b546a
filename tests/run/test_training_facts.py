"""What training counted of the data goes with its checkpoints into exports."""

import json
from pathlib import Path
from typing import Any

import pytest
from e2e import tiny
from run.runs import go_on

from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import checkpoint


def counted(model_dir: Path) -> list[dict]:
    """What the checkpoints of a run hold, from the first to the last."""
    return [
        checkpoint.open_checkpoint(path).state["quality"] for path in checkpoint.find(model_dir)
    ]


def test_a_run_that_goes_on_adds_to_what_it_counted_before(tiny_folder: Path, run: Path) -> None:
    before = counted(run)[-1]
    go_on(tiny_folder, run, train_config__num_epochs=2)
    after = counted(run)[-1]
    assert after["rows"] == 2 * before["rows"] > 0
    assert after["types"] == before["types"]
    for name, counts in before["features"].items():
        assert after["features"][name] == {kind: 2 * count for kind, count in counts.items()}


def test_an_export_has_the_types_of_the_columns_that_features_read(
    tiny_folder: Path, run: Path, tmp_path: Path
) -> None:
    made = tiny.pipeline(tiny_folder, run)
    folder = made.export(str(tmp_path / "export"))
    signature = json.loads((folder / "signature.json").read_text())
    held = counted(run)[-1]
    assert signature["training"]["features"] == held["features"]
    labels = set(made.config.pipeline.data_config.label_fields)
    assert labels <= set(held["types"])
    assert set(held["types"]) - set(signature["training"]["types"]) == {*labels, "importance"}


def test_a_checkpoint_of_an_earlier_version_can_be_continued_and_exported(
    tiny_folder: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lacks the counts; an export then knows nothing of them, and a run counts its own rows."""
    rows = counted(run)[-1]["rows"]
    opened = checkpoint.open_checkpoint

    def earlier(*args: Any) -> checkpoint.Checkpoint:
        found = opened(*args)
        del found.state["quality"]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "open_checkpoint", earlier)
        folder = tiny.pipeline(tiny_folder, run).export(str(tmp_path / "export"))
        go_on(tiny_folder, run, train_config__num_epochs=2)
    assert json.loads((folder / "signature.json").read_text())["training"] is None
    assert Scorer.load(folder).quality()["training_rows"] == 0
    assert counted(run)[-1]["rows"] == rows
