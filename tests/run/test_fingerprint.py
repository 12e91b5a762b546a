"""Weights are not taken for something else when names and shapes happen to fit."""

import re
from pathlib import Path

import pytest
from e2e import tiny
from messages import fails

from tzmmoe import Pipeline
from tzmmoe.errors import CheckpointError


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("fingerprint") / "model"
    tiny.pipeline(tiny_folder, model_dir, train_config__num_steps=2).fit()
    return model_dir


def text_of(folder: Path) -> str:
    return (folder / "tiny.config").read_text()


def refused(model_dir: Path, name: str, text: str, words: str) -> None:
    """Evaluation and training on refuse the changed config, with these words."""
    config = model_dir.parent / f"{name}.config"
    config.write_text(text)
    changed = Pipeline.load(config, settings=[f"model_dir={model_dir}"])
    for act in (changed.evaluate, lambda: changed.fit(continue_train=True)):
        with pytest.raises(CheckpointError, match=re.escape(words)):
            act()


def test_a_feature_group_in_another_order_is_refused(tiny_folder, trained) -> None:
    """Features of equal width would change places in the first layer's input."""
    names = list(tiny.session(tiny_folder).built.groups["all"])
    listed = ", ".join(f'"{name}"' for name in reversed(names))
    text = text_of(tiny_folder)
    text, count = re.subn(r"feature_names: \[[^\]]*\]", f"feature_names: [{listed}]", text)
    assert count == 1
    words = f"the features are in another order; write {', '.join(names)}"
    refused(trained, "reordered", text, words)


def test_towers_in_another_order_are_refused(tiny_folder, trained) -> None:
    """Gates go by the number of the task."""
    config = Pipeline.load(tiny_folder / "tiny.config").config.pipeline
    towers = list(config.model_config.mmoe.task_towers)
    names = [tower.tower_name for tower in towers]
    del config.model_config.mmoe.task_towers[:]
    config.model_config.mmoe.task_towers.extend(reversed(towers))
    words = f"the tasks are in another order; write {', '.join(names)}"
    refused(trained, "towers", str(config), words)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("batch_size: 16", "batch_size: 16 hash_function: FARM_HASH", "FARM_HASH of its text"),
        ("hash_bucket_size: 9", "num_buckets: 9", "is the value itself in the config"),
        ("boundaries: [", "boundaries: [-3, ", "boundaries"),
    ],
)
def test_values_that_would_go_to_other_rows_are_refused(
    tiny_folder, trained, before, after, words
) -> None:
    text = text_of(tiny_folder)
    assert before in text
    if before.startswith("boundaries"):  # as many, but others
        text = re.sub(r"boundaries: \[[^,\]]*,", "boundaries: [-3,", text)
    else:
        text = text.replace(before, after)
    refused(trained, "rows", text, words)


def test_the_same_config_is_accepted(tiny_folder, trained) -> None:
    assert tiny.pipeline(tiny_folder, trained, train_config__num_steps=2).evaluate()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("hidden_units: [8]", "hidden_units: [9]"),
        ("num_buckets: 20", "num_buckets: 21"),
        ('feature_names: ["user", ', "feature_names: ["),
    ],
)
def test_a_model_of_another_shape_says_what_to_do(tiny_folder, trained, before, after) -> None:
    text = text_of(tiny_folder)
    assert before in text
    config = trained.parent / "shape.config"
    config.write_text(text.replace(before, after))
    changed = Pipeline.load(config, settings=[f"model_dir={trained}"])
    with fails(CheckpointError, "restore these settings", "pipeline.config"):
        changed.evaluate()
    parts = ("fine_tune_checkpoint", "train_config.partial_restore", str(trained / "model.ckpt-1"))
    with fails(CheckpointError, "restore these settings", "new model_dir", *parts):
        changed.fit(continue_train=True)


def test_the_advice_for_a_model_of_another_shape_works(tiny_folder, trained, tmp_path) -> None:
    changes = {
        "model_config.mmoe.expert_mlp.hidden_units": "[9]",
        "train_config.partial_restore": "true",
        "train_config.num_steps": 1,
        "train_config.fine_tune_checkpoint": trained / "model.ckpt-1",
    }
    tiny.pipeline(tiny_folder, tmp_path / "new", **changes).fit()
