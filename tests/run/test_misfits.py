"""A checkpoint of another model is refused with the settings that differ and both their values."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e import tiny
from messages import fails
from ranks import Ranks
from run.runs import ONE_EPOCH

from tzmmoe.errors import CheckpointError
from tzmmoe.system.digest import sha256
from tzmmoe.system.world import World

MODEL, USER = "model_config__mmoe__", "feature_configs[feature_name=user]__id_feature__"
# A change, the setting as it is named, its values before and after, and a tensor with its sizes.
MISFITS: dict[str, tuple[dict, list[str]]] = {
    "rows": (
        {f"{USER}num_buckets": 30},
        ["user: num_buckets was 20, and is 30", "user_emb.weight: [20, 4]", "[30, 4]"],
    ),
    "width": (
        {f"{USER}embedding_dim": 5},
        ["user: embedding_dim was 4, and is 5", "user_emb.weight: [20, 4]", "[20, 5]"],
    ),
    "experts": (
        {f"{MODEL}num_expert": 4},
        ["model_config.mmoe.num_expert: was 3, and is 4", "experts", "[3, 8, 19]", "[4, 8, 19]"],
    ),
    "layers": (
        {f"{MODEL}task_towers[0]__mlp__hidden_units": "[5]"},
        ["task_towers[0].mlp.hidden_units: was [4], and is [5]", "tower_ctr", "[1, 4, 8]"],
    ),
    "a part that is new": (
        {f"{MODEL}gate_mlp": "hidden_units: 3"},
        ["gate_mlp.hidden_units: was not set, and is [3]", "gates", "not in the checkpoint"],
    ),
    "a norm": (
        {f"{MODEL}task_towers[1]__mlp__use_bn": "false"},
        ["task_towers[1].mlp.use_bn: was true, and is false", "tower_cvr"],
    ),
    "an activation with weights": (
        {f"{MODEL}expert_mlp__activation": "Dice"},
        ["expert_mlp.activation: was nn.ReLU, and is Dice", "not in the checkpoint"],
    ),
    "several": (
        {f"{USER}num_buckets": 30, f"{MODEL}num_expert": 4},
        ["user: num_buckets was 20, and is 30", "mmoe.num_expert: was 3, and is 4"],
    ),
}


def resume(folder: Path, model_dir: Path, changes: dict) -> None:
    tiny.pipeline(folder, model_dir, **ONE_EPOCH | changes).fit(continue_train=True)


def fine_tune(folder: Path, model_dir: Path, changes: dict) -> None:
    start = {"train_config__fine_tune_checkpoint": model_dir}
    tiny.pipeline(folder, model_dir.with_name("new"), **start | changes).fit()


def evaluate(folder: Path, model_dir: Path, changes: dict) -> None:
    tiny.pipeline(folder, model_dir, **changes).evaluate()


@pytest.mark.parametrize("act", [resume, fine_tune, evaluate])
@pytest.mark.parametrize(("changes", "words"), MISFITS.values(), ids=MISFITS)
def test_a_checkpoint_of_another_shape_is_refused_with_settings_before_tensors(
    tiny_folder, run, act: Callable, changes: dict, words: list[str]
) -> None:
    before = tiny.files_of(run)
    with pytest.raises(CheckpointError) as error:
        act(tiny_folder, run, changes)
    text, places = str(error.value), [0]
    for word in words:
        assert word in text, text
        places.append(text.index(word))
    assert places == sorted(places)
    assert len([line for line in text.splitlines() if " was " in line]) == len(changes)
    kept = tiny.files_of(run)
    assert all(kept[name] == content for name, content in before.items() if "ckpt" in name)


def test_settings_that_shape_no_weights_are_not_blamed(tiny_folder, run) -> None:
    more = {
        f"{MODEL}num_expert": 4,
        f"{MODEL}expert_mlp__dropout_ratio": "[0.4]",
        f"{MODEL}task_towers[0]__metrics": "logloss {}",
        "train_config__dense_optimizer__adam_optimizer__lr": 0.5,
        "data_config__batch_size": 8,
    }
    with pytest.raises(CheckpointError) as error:
        evaluate(tiny_folder, run, more)
    [line] = [line for line in str(error.value).splitlines() if " was " in line]
    assert "num_expert" in line


def test_a_config_of_another_version_leaves_the_tensors(tiny_folder, run) -> None:
    """It has a word that no field or value here is."""
    for checkpoint in run.glob("model.ckpt-*"):
        file = checkpoint / "pipeline.config"
        file.write_text(file.read_text() + "data_config { fg_mode: FG_OF_LATER }\n")
        sums = checkpoint / "checksums.json"
        listed = json.loads(sums.read_text()) | {"pipeline.config": sha256(file)}
        sums.write_text(json.dumps(listed))
    with fails(CheckpointError, "does not fit", "user_emb.weight: [20, 4]", "[30, 4]"):
        evaluate(tiny_folder, run, {f"{USER}num_buckets": 30})


def of_rank(world: World, folder: Path, model_dir: Path) -> str:
    try:
        evaluate(folder, model_dir, {f"{USER}num_buckets": 30})
    except CheckpointError as error:
        return str(error)
    return ""


def test_all_processes_say_it(two: Ranks, tiny_folder, run) -> None:
    said = two.run(of_rank, tiny_folder, run)
    assert all("user: num_buckets was 20, and is 30" in text for text in said)
