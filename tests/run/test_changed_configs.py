"""What differs from the config of a checkpoint is told by every command that reads it."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e import tiny
from run.runs import steps

from tzmmoe.errors import CheckpointError
from tzmmoe.run.changes.report import ChangedError
from tzmmoe.system import checkpoint

EXPRESSION = "feature_configs[0].id_feature.expression"
MEANING = {EXPRESSION: "item:age"}
RATE = "train_config.dense_optimizer.adam_optimizer.lr"
LONGER = {"train_config.num_epochs": 2}


def resume(folder: Path, model_dir: Path, changes: dict, **how: bool) -> None:
    tiny.pipeline(folder, model_dir, **LONGER | changes).fit(continue_train=True, **how)


def check(folder: Path, model_dir: Path, changes: dict, **how: bool) -> None:
    tiny.pipeline(folder, model_dir, **LONGER | changes).check(continue_train=True, **how)


def evaluate(folder: Path, model_dir: Path, changes: dict, **how: bool) -> None:
    tiny.pipeline(folder, model_dir, **changes).evaluate(**how)


def export(folder: Path, model_dir: Path, changes: dict, **how: bool) -> None:
    tiny.pipeline(folder, model_dir, **changes).export(str(model_dir / "export"), **how)


def predict(folder: Path, model_dir: Path, changes: dict, **how: bool) -> None:
    target = str(model_dir / "predicted.parquet")
    tiny.pipeline(folder, model_dir, **changes).predict(str(folder / "eval.parquet"), target, **how)


COMMANDS = pytest.mark.parametrize(
    "command", [resume, check, evaluate, export, predict], ids=lambda command: command.__name__
)


@COMMANDS
def test_a_changed_meaning_is_an_error_that_accept_changes_makes_a_warning(
    tiny_folder, run, caplog, command: Callable
) -> None:
    before = steps(run)
    with pytest.raises(ChangedError) as raised:
        command(tiny_folder, run, MEANING)
    message = str(raised.value)
    assert str(checkpoint.newest(run)) in message
    assert f"{EXPRESSION} of 'user': was not set, and is \"item:age\" in the config" in message
    assert "accept_changes=True" in message
    assert "--" not in message
    assert steps(run) == before
    assert not (run / "export").exists()
    assert not (run / "predicted.parquet").exists()
    with caplog.at_level(logging.WARNING, "tzmmoe"):
        command(tiny_folder, run, MEANING, accept_changes=True)
    assert any(EXPRESSION in r.message and "despite" in r.message for r in caplog.records)


@COMMANDS
def test_other_layers_are_refused_even_if_changes_are_accepted(
    tiny_folder, run, command: Callable
) -> None:
    """A bias that the model no longer has would be left out, and all else fits."""
    changes = {"model_config.mmoe.expert_mlp.bias": "false"}
    for accepts in (False, True):
        with pytest.raises(ChangedError, match=r"expert_mlp\.bias: was true, and is false"):
            command(tiny_folder, run, changes, accept_changes=accepts)


@COMMANDS
def test_a_changed_hash_is_refused_even_if_changes_are_accepted(
    tiny_folder, run, command: Callable
) -> None:
    with pytest.raises(CheckpointError, match="FARM_HASH of its text"):
        command(tiny_folder, run, {"data_config.hash_function": "FARM_HASH"}, accept_changes=True)


@COMMANDS
def test_what_only_training_reads_is_noted_by_training_alone(
    tiny_folder, run, caplog, command: Callable
) -> None:
    with caplog.at_level(logging.INFO, "tzmmoe"):
        command(tiny_folder, run, {RATE: 0.25})
    noted = [r.message for r in caplog.records if f"{RATE}: was 0.01, and is 0.25" in r.message]
    assert len(noted) == (command in (resume, check))


@COMMANDS
def test_what_changes_results_is_noted_by_training_and_evaluation(
    tiny_folder, run, caplog, command: Callable
) -> None:
    path = "model_config.mmoe.task_towers[0].weight"
    with caplog.at_level(logging.INFO, "tzmmoe"):
        command(tiny_folder, run, {path: 3})
    noted = [r.message for r in caplog.records if f"{path} of 'ctr': was 1, and is 3" in r.message]
    assert len(noted) == (command not in (export, predict))


@COMMANDS
def test_the_same_config_is_silent(tiny_folder, run, caplog, command: Callable) -> None:
    with caplog.at_level(logging.INFO, "tzmmoe"):
        command(tiny_folder, run, {"train_config.num_epochs": 1})
    assert not [r.message for r in caplog.records if re.search("differ|accepted", r.message)]


def test_after_an_accepted_change_the_new_config_is_the_one_to_compare_with(
    tiny_folder, run
) -> None:
    resume(tiny_folder, run, MEANING, accept_changes=True)
    evaluate(tiny_folder, run, MEANING)
    with pytest.raises(ChangedError, match='was "item:age", and is not set'):
        evaluate(tiny_folder, run, {})


def test_a_flag_without_a_checkpoint_to_compare_with_has_no_effect_and_says_so(
    tiny_folder, tmp_path, caplog
) -> None:
    tiny.pipeline(tiny_folder, tmp_path / "new").check(accept_changes=True)
    assert any("accept_changes has no effect" in r.message for r in caplog.records)


# Of each field that the fingerprint or the tensors' shapes are said to refuse, a change both ways.
FINGERPRINT = [
    "data_config.hash_function=FARM_HASH",
    "feature_configs[0].id_feature.embedding_dim=5",
    "feature_configs[0].id_feature.num_buckets=21",
    "feature_configs[1].id_feature.hash_bucket_size=31",
    'feature_configs[0].id_feature=feature_name: "user" embedding_dim: 4 vocab_list: ["a", "b"]',
    'feature_configs[0].id_feature=feature_name: "user" embedding_dim: 4 vocab_list: ["a", "b"] '
    "default_bucketize_value: 1",
    "feature_configs[5].raw_feature.boundaries=[20, 40, 61]",
    'model_config.feature_groups[0].feature_names=["tags", "user", "scores", "city", "price", '
    '"age"]',
    "feature_configs[5].raw_feature.embedding_dim=4",
]


@pytest.mark.parametrize("edit", FINGERPRINT)
def test_what_the_comparison_leaves_to_the_fingerprint_is_refused_there(
    tiny_folder, finished, edit
) -> None:
    path, _, value = edit.partition("=")
    session = tiny.session(tiny_folder, finished, **{path: value})
    with pytest.raises(CheckpointError, match=r"belongs to another config|does not fit"):
        session.restore(finished)
