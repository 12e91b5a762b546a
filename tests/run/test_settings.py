"""The settings of a run: one object, made from the config once."""

import ast
from pathlib import Path

import pytest
from e2e import tiny

import tzmmoe
from tzmmoe.errors import Faults
from tzmmoe.run.settings import RunSettings

PACKAGE = Path(tzmmoe.__file__).parent
READERS = {"settings.py", "session.py"}  # session hands the config to build


def of(folder: Path, *, trains: bool = False, **changes: object) -> RunSettings:
    faults = Faults()
    pipeline = tiny.pipeline(folder, "run", **changes).config.pipeline
    made = RunSettings.of(pipeline, faults, trains=trains)
    faults.stop()
    return made


@pytest.mark.parametrize("file", [*PACKAGE.glob("run/*.py"), PACKAGE / "pipeline.py"])
def test_no_file_of_a_run_but_these_two_sees_a_message(file: Path) -> None:
    """Neither the schema nor the config's message."""
    tree = ast.parse(file.read_text())
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    sees = {name for name in imported if "protos" in name or name == "tzmmoe.registry.fields"}
    reads = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} & {"pipeline"}
    assert file.name in READERS or not (sees | reads)


def test_settings_are_those_of_the_config_and_defaults_those_of_the_schema(tiny_folder) -> None:
    made = of(tiny_folder, trains=True, eval_config__batch_size=7, runtime_config__timeout="3h")
    assert made.evaluation.batch_size == 7
    assert made.runtime.timeout == "3h"
    assert made.training.num_epochs == 2
    assert made.learning.accumulation == 2
    assert made.learning.sparse.optimizer.word == "adam_optimizer"
    assert made.placement.optimizer == made.learning.sparse.optimizer
    assert (made.training.log_step_count_steps, made.runtime.seed) == (100, 1024)
    assert made.training.early_stopping is made.evaluation.num_steps is None


def test_only_a_run_that_trains_needs_optimizers(tiny_folder) -> None:
    without = {"train_config__sparse_optimizer": "constant_learning_rate {}"}
    assert of(tiny_folder, **without).learning is None
    with pytest.raises(tzmmoe.errors.ConfigError, match=r"train_config\.sparse_optimizer"):
        of(tiny_folder, **without, trains=True)


@pytest.mark.parametrize(
    ("changes", "after_steps", "after_epochs"),
    [
        ({"train_config__save_checkpoints_steps": 3}, [3, 6, 9], []),
        ({"train_config__save_checkpoints_steps": 1}, list(range(1, 10)), []),
        ({"train_config__save_checkpoints_epochs": 2}, [], [1, 3]),
    ],
)
def test_checkpoints_are_due_by_steps_or_by_epochs(
    tiny_folder, changes, after_steps, after_epochs
) -> None:
    """Both counted from 0; never after the very first step."""
    training = of(tiny_folder, **changes).training
    assert [step for step in range(10) if training.saves_after_step(step)] == after_steps
    assert [epoch for epoch in range(5) if training.saves_after_epoch(epoch)] == after_epochs


def test_results_go_under_the_models_own_name_or_its_word(tiny_folder, tmp_path) -> None:
    """mmoe has no name of its own; mmoe_v2 has one, with a default."""
    assert of(tiny_folder).model_name == "mmoe"
    pipeline = tiny.pipeline(tiny_folder, tmp_path).config.pipeline
    for name in ("mmoe v2", "mine"):
        pipeline.model_config.mmoe_v2.SetInParent()
        if name == "mine":
            pipeline.model_config.mmoe_v2.name = name
        assert RunSettings.of(pipeline, Faults(), trains=False).model_name == name


def test_test_input_path_stands_in_for_eval_input_path_alone(tiny_folder) -> None:
    files = of(tiny_folder, eval_input_path="", test_input_path="some.csv").files
    assert not files.lacks("eval_input_path")
    assert files.lacks("eval_input_path") == files.lacks("model_dir") is False
    assert of(tiny_folder, eval_input_path="").files.lacks("eval_input_path")
