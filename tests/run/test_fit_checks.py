"""What is told or refused before the first step, so that no run fails at its end."""

import logging
import re

import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import says
from run.runs import EARLY, ONE_EPOCH

from tzmmoe.errors import CheckpointError, ConfigError, DataError
from tzmmoe.system import checkpoint


def test_what_is_missing_for_the_end_is_told_before_the_first_step(tiny_folder, tmp_path) -> None:
    """A run should not fail after hours for an evaluation file that was never there."""
    run = tmp_path / "run"
    with pytest.raises(DataError, match=r"nowhere\.parquet: .*eval_input_path"):
        tiny.pipeline(tiny_folder, run, eval_input_path=tmp_path / "nowhere.parquet").fit()
    narrow = tiny.write(tiny.rows(0, 9).drop_columns(["buy"]), tmp_path / "narrow.parquet")
    with pytest.raises(DataError, match=r"narrow\.parquet: no column 'buy'"):
        tiny.pipeline(tiny_folder, run, eval_input_path=narrow).fit()
    with pytest.raises(ConfigError, match=r"'val_los' is not evaluated; .*did you mean 'val_loss'"):
        tiny.pipeline(tiny_folder, run, train_config__early_stopping='monitor: "val_los"').fit()
    with pytest.raises(ConfigError, match="has no effect without eval_input_path"):
        tiny.pipeline(tiny_folder, run, **EARLY, eval_input_path="").fit()
    assert not run.exists()


def test_a_seed_below_zero_is_refused(tiny_folder, tmp_path) -> None:
    """numpy would refuse it at the first shuffle, with a traceback."""
    with pytest.raises(ConfigError, match=r"runtime_config\.seed: is -1; give 0 or more"):
        tiny.pipeline(tiny_folder, tmp_path, runtime_config__seed=-1).check()


def test_a_warning_of_the_files_comes_once_for_each_path_and_not_with_every_evaluation(
    tiny_folder, tmp_path, caplog
) -> None:
    tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH).fit()
    said = [line for line in caplog.messages if "which is Parquet" in line]
    assert len(said) == 2


def test_a_check_builds_and_reads_but_writes_nothing(tiny_folder, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path / "run", train_config__use_tensorboard="true").check()
    assert "the config fits the data; the first batch has 16 rows" in caplog.text
    assert not (tmp_path / "run").exists()


def test_accumulating_over_more_batches_than_there_are_is_told(
    tiny_folder, tmp_path, caplog
) -> None:
    changes = ONE_EPOCH | {"train_config__gradient_accumulation_steps": 14}
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    says(caplog.text, "gradient_accumulation_steps is ", "13 steps", "never updated")
    first, last = (
        tiny.tensors(tmp_path / f"model.ckpt-{step}")["model.towers.tower_ctr.linear.weight"]
        for step in (5, 12)
    )
    assert first == last


def test_the_summary_counts_rows_and_bytes_of_tables(tiny_folder, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path / "run").check()
    [summary] = [text for text in caplog.messages if text.startswith("table ")]
    lines = {line.split()[0]: line.split()[1:] for line in summary.splitlines()}
    assert lines["user_emb"] == ["20", "4", "320", "B"]
    assert lines["city_emb"] == ["9", "3", "108", "B", "(not", "trained)"]
    model = tiny.session(tiny_folder).built.model
    rows = {re.split(r"  +", line)[0]: re.split(r"  +", line)[1:] for line in summary.splitlines()}
    assert rows["part"] == ["reads", "gives", "parameters"]
    for part, path, gives in (
        ("experts", "body.experts", "3 x (B, 8)"),
        ("gates", "body.gates", "2 x (B, 3)"),
        ("tower ctr", "towers.tower_ctr", "(B, 1)"),
    ):
        count = sum(parameter.numel() for parameter in model.get_submodule(path).parameters())
        reads = "experts, gates" if part == "tower ctr" else "group all"
        assert rows[part] == [reads, gives, f"{count:,}"]


@pytest.mark.parametrize("which", ["train", "eval"])
def test_predictions_never_replace_a_file_that_the_config_names(
    tiny_folder, tmp_path, which
) -> None:
    """And that shows before the run, not after it."""
    folder = tiny.write_all(tmp_path / "data")
    target = folder / "train/1.parquet" if which == "train" else folder / "eval.parquet"
    before = target.read_bytes()
    run = tiny.pipeline(folder, tmp_path / "run", eval_config__predictions_path=target)
    for act in (run.check, run.fit):
        with pytest.raises(DataError, match="would be replaced; choose another output"):
            act()
    assert not checkpoint.find(tmp_path / "run")
    trained = tiny.pipeline(folder, tmp_path / "run", **ONE_EPOCH)
    trained.fit()
    with pytest.raises(DataError, match="would be replaced"):
        trained.evaluate(predictions_path=str(target))
    with pytest.raises(DataError, match="would be replaced"):
        trained.predict(str(tiny_folder / "eval.parquet"), str(target))
    assert target.read_bytes() == before


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("name", ["eval_input_path", "test_input_path"])
def test_files_to_evaluate_on_that_hold_no_rows_are_told_before_the_first_step(
    tiny_folder, tmp_path, name, suffix
) -> None:
    """As those of training are. Among other files one without rows is nothing to tell."""
    empty = tiny.write(tiny.rows(0, 0), tmp_path / f"empty{suffix}")
    words = rf"empty\{suffix}: .*{name} have no rows; choose"
    run = tmp_path / "run"
    for act in ("fit", "check", "evaluate"):
        made = tiny.pipeline(tiny_folder, run, **ONE_EPOCH, **{name: empty})
        if act == "evaluate":
            tiny.pipeline(tiny_folder, run, **ONE_EPOCH).fit()
        with pytest.raises(DataError, match=words):
            getattr(made, act)()
        assert act == "evaluate" or not run.exists()
    one = tiny.write(tiny.rows(0, 1), tmp_path / f"one{suffix}")
    results = tiny.pipeline(tiny_folder, run, **{name: f"{empty},{one}"}).evaluate()
    assert results["val_loss"] > 0


def test_a_later_file_that_lacks_a_column_shows_before_the_first_step(tmp_path) -> None:
    folder = tiny.write_all(tmp_path / "data")
    rows = pq.read_table(folder / "train/2.parquet")
    pq.write_table(rows.drop_columns(["click"]), folder / "train/2.parquet")
    with pytest.raises(DataError, match=r"2\.parquet: no column 'click'"):
        tiny.pipeline(folder, tmp_path / "run").fit()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["file", "in a file"])
def test_a_model_dir_that_cannot_be_made_is_a_fault_of_the_config(
    tiny_folder, tmp_path, kind
) -> None:
    (tmp_path / "file").touch()
    model_dir = tmp_path / "file" / ("" if kind == "file" else "run")
    run = tiny.pipeline(tiny_folder, model_dir)
    for act in (run.check, run.fit):
        with pytest.raises(ConfigError, match=r"model_dir: .*file is a file, not a folder; choose"):
            act()


def test_a_check_tells_the_values_of_the_first_rows_and_minds_the_checkpoint_to_start_from(
    tiny_folder, tmp_path, caplog
) -> None:
    """That all ids lie outside their table should not show only in training."""
    caplog.set_level("INFO")
    first = "feature_configs[feature_name=user]__id_feature__num_buckets"
    tiny.pipeline(tiny_folder, tmp_path, **{first: 1}).check()
    assert "user: " in caplog.text
    assert "id outside its table" in caplog.text
    assert "values of the first" in caplog.text
    with pytest.raises(CheckpointError, match="nowhere"):
        tiny.pipeline(tiny_folder, tmp_path, train_config__fine_tune_checkpoint="nowhere").check()


def test_a_check_beside_a_checkpoint_says_what_training_needs(
    tiny_folder, finished, caplog
) -> None:
    """The weights there may belong to another config, which a check does not mind."""
    before = {file: file.stat().st_mtime_ns for file in finished.rglob("*")}
    name = checkpoint.find(finished)[-1].name
    changes = {"model_config__mmoe__num_expert": 5}
    run = tiny.pipeline(tiny_folder, finished, **changes)
    with caplog.at_level(logging.INFO):
        run.check(ignore_restore_optimizer=True)
    says(caplog.text, "the config fits the data", f"{finished} already holds {name}")
    says(caplog.text, "--continue_train", "another --model_dir")
    says(caplog.text, "--ignore_restore_optimizer has no effect: it needs --continue_train")
    with pytest.raises(CheckpointError, match="num_expert"):
        run.check(continue_train=True)
    caplog.clear()
    tiny.pipeline(tiny_folder, finished).check(continue_train=True)
    assert "already holds" not in caplog.text
    assert {file: file.stat().st_mtime_ns for file in finished.rglob("*")} == before
    with pytest.raises(CheckpointError, match="already holds"):
        run.fit()


@pytest.mark.parametrize("act", ["check", "fit"])
def test_resuming_without_a_checkpoint_is_said_to_have_no_effect(
    tiny_folder, tmp_path, caplog, act
) -> None:
    run = tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH)
    getattr(run, act)(continue_train=True, ignore_restore_optimizer=True)
    for flag in ("--continue_train", "--ignore_restore_optimizer"):
        says(caplog.text, f"{flag} has no effect: {tmp_path}/run holds no checkpoint")
