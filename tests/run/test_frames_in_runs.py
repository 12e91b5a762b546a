"""Runs on rows in memory: the same as runs on a file of these rows, and what differs is told."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from containers import CONTAINERS
from e2e import tiny
from messages import fails, says

from tzmmoe.errors import CheckpointError, ConfigError, DataError, UserError
from tzmmoe.pipeline import Pipeline
from tzmmoe.run.changes.report import ChangedError

ROWS, EVALUATION = tiny.rows(0, 150), tiny.rows(100_000, 60)
STEPS = {"train_config__num_epochs": 1, "data_config__num_workers": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the rows as files, too."""
    return tiny.write_all(tmp_path_factory.mktemp("rows"), files=(len(ROWS),))


def pipeline(folder: Path, model_dir: Path, **changes: object) -> Pipeline:
    return tiny.pipeline(folder, model_dir, **STEPS | changes)


def bare(folder: Path, model_dir: Path, **changes: object) -> Pipeline:
    """A config that names no files."""
    return pipeline(folder, model_dir, train_input_path="", eval_input_path="", **changes)


def weights(model_dir: Path) -> dict[str, bytes]:
    return tiny.tensors(max(model_dir.glob("model.ckpt-*"), key=lambda p: int(p.name[11:])))


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Path:
    """The model_dir of a run on the files."""
    model_dir = tmp_path_factory.mktemp("trained") / "run"
    pipeline(folder, model_dir).fit()
    return model_dir


@pytest.mark.parametrize("container", ["pandas_filtered", "polars", "dict_of_arrays", "stream"])
def test_a_fit_on_frames_gives_the_weights_and_results_of_a_fit_on_the_files(
    folder, trained, tmp_path, container
) -> None:
    made = CONTAINERS[container]
    results = bare(folder, tmp_path / "run").fit(train=made(ROWS), eval=made(EVALUATION))
    assert weights(tmp_path / "run") == weights(trained)
    assert results == pipeline(folder, trained).evaluate()
    config = (tmp_path / "run" / "pipeline.config").read_text()
    says(config, 'train_input_path: "memory:train"', 'eval_input_path: "memory:eval"')


def test_columns_in_another_order_make_no_difference(folder, trained, tmp_path) -> None:
    frame = ROWS.to_pandas()
    mixed = frame[[*frame.columns[::-1]]]
    bare(folder, tmp_path / "run").fit(train=mixed, eval=EVALUATION)
    assert weights(tmp_path / "run") == weights(trained)


def test_the_split_of_the_config_holds_rows_out_of_a_frame_and_eval_overrides_it(
    folder, tmp_path
) -> None:
    split = {"data_config__eval_split": "fraction: 0.3"}
    of_files = pipeline(folder, tmp_path / "files", eval_input_path="", **split).fit()
    frame = ROWS.to_pandas()
    assert bare(folder, tmp_path / "frame", **split).fit(train=frame) == of_files
    assert weights(tmp_path / "frame") == weights(tmp_path / "files")
    unsplit = pipeline(folder, tmp_path / "unsplit").fit()
    assert bare(folder, tmp_path / "eval", **split).fit(train=frame, eval=EVALUATION) == unsplit
    assert unsplit != of_files


def test_the_frame_that_is_evaluated_gives_the_results_of_the_file(folder, trained) -> None:
    expected = pipeline(folder, trained).evaluate()
    for make in CONTAINERS.values():
        assert bare(folder, trained).evaluate(make(EVALUATION)) == expected
    newest = str(max(trained.glob("model.ckpt-*"), key=lambda p: int(p.name[11:])))
    made = tiny.pipeline(folder, "", train_input_path="", eval_input_path="")
    assert made.evaluate(EVALUATION, checkpoint_path=newest) == expected
    assert pipeline(folder, "elsewhere").evaluate(newest) == expected  # as before frames
    with fails(ConfigError, "checkpoint_path", "twice"):
        made.evaluate(newest, checkpoint_path=newest)


@pytest.fixture(scope="module")
def stopped(folder, tmp_path_factory) -> Path:
    """A run of one epoch of ten steps that ended after the fourth, on frames."""
    model_dir = tmp_path_factory.mktemp("stopped") / "run"
    bare(folder, model_dir, train_config__num_steps=4).fit(train=ROWS.to_pandas(), eval=EVALUATION)
    return model_dir


def test_a_run_that_resumes_on_an_equal_frame_ends_as_one_that_never_stopped(
    folder, trained, stopped, tmp_path, monkeypatch
) -> None:
    """In another container, another working directory, and with the config that it left."""
    shutil.copytree(stopped, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    settings = [f"{path.replace('__', '.')}={value}" for path, value in STEPS.items()]
    settings += ["train_config.num_steps=10", f"model_dir={tmp_path / 'run'}"]
    left = Pipeline.load(tmp_path / "run" / "pipeline.config", settings=settings, device="cpu")
    left.fit(train=pl.from_arrow(ROWS), eval=EVALUATION, continue_train=True)
    assert weights(tmp_path / "run") == weights(trained)
    log = (tmp_path / "run" / "train.log").read_text()
    assert "files that differ" not in log
    assert "not comparable" not in log


def test_resuming_on_another_frame_is_refused_with_both_digests_unless_accepted(
    folder, stopped, tmp_path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    other = ROWS.set_column(5, "price", pa.array([1.0] * len(ROWS)))
    made = bare(folder, tmp_path / "run")
    with fails(ChangedError, "memory:train", "150 rows with digest", "accept_changes=True"):
        made.fit(train=other, eval=EVALUATION, continue_train=True)
    made.fit(train=other, eval=EVALUATION, continue_train=True, accept_changes=True)


def test_another_frame_to_evaluate_on_is_told(folder, stopped, tmp_path, caplog) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    caplog.set_level("INFO")
    made = bare(folder, tmp_path / "run")
    made.fit(train=ROWS, eval=EVALUATION.slice(3), continue_train=True)
    says(caplog.text, "memory:eval, for evaluation: it was 60 rows", "and is 57 rows")


def test_a_run_on_a_frame_cannot_resume_on_files_within_the_epoch(
    folder, stopped, tmp_path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    with fails(DataError, "memory:train", "fit(train=frame)", "rows of this frame"):
        pipeline(folder, tmp_path / "run").fit(continue_train=True)


def test_a_command_line_on_such_a_model_dir_says_where_the_data_was(stopped, tmp_path) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    config = str(tmp_path / "run" / "pipeline.config")
    flags = ["--pipeline_config", config, "--model_dir", str(tmp_path / "run")]
    for name, more in {"train": ["--continue_train"], "eval": []}.items():
        done = subprocess.run(
            [sys.executable, "-m", f"tzmmoe.{name}", *flags, *more],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        says(done.stderr, "memory:", "given in Python", "fit(train=frame", "_input_path")


def test_a_fit_without_the_frame_of_its_config_says_how_to_give_it(stopped, folder) -> None:
    made = Pipeline.load(stopped / "pipeline.config", device="cpu")
    with fails(DataError, "memory:train", "fit(train=frame"):
        made.fit(continue_train=True)
    with fails(DataError, "memory:eval", "eval=frame"):
        made.fit(train=ROWS, continue_train=True)
    with fails(ConfigError, "train_input_path", "fit(train=frame)"):
        bare(folder, stopped).fit()
    with fails(ConfigError, "eval_input_path", "evaluate(frame)"):
        bare(folder, stopped).evaluate()


FRAME = ROWS.to_pandas()
MISTAKES: dict[str, tuple[object, list[str]]] = {
    "a list of dicts": (ROWS.to_pylist(), ["memory:train", "list", "pandas.DataFrame"]),
    "a path": ("rows.parquet", ["memory:train", "str", "config"]),
    "an empty frame": (FRAME[FRAME["age"] > 1000], ["memory:train", "no rows"]),
    "a missing label": (FRAME.drop(columns="click"), ["memory:train", "'click'", "label"]),
    "a misspelt column": (FRAME.rename(columns={"city": "citty"}), ["'city'", "'citty'"]),
    "a column twice": (
        pd.concat([FRAME, FRAME[["city"]]], axis=1),
        ["memory:train", "2 columns", "'city'"],
    ),
    "a label that is text": (
        FRAME.assign(click=FRAME["click"].map({0: "no", 1: "yes"})),
        ["memory:train", "click"],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_of_a_notebook_is_told_before_training(folder, tmp_path, case) -> None:
    rows, parts = MISTAKES[case]
    with fails(UserError, *parts):
        bare(folder, tmp_path / "run").fit(train=rows, eval=EVALUATION)
    assert not list(tmp_path.glob("run/model.ckpt-*"))


def test_a_cell_that_is_run_twice_says_how_to_go_on(folder, stopped) -> None:
    with fails(CheckpointError, "already holds", "continue_train=True", "model_dir"):
        bare(folder, stopped).fit(train=ROWS, eval=EVALUATION)


def test_the_check_reads_a_frame_and_leaves_nothing(folder, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    bare(folder, tmp_path / "run").check(train=ROWS, eval=EVALUATION)
    says(caplog.text, "the config fits the data", "16 rows")
    assert not (tmp_path / "run").exists()


def test_a_frame_to_evaluate_on_that_is_trained_on_is_doubted(folder, tmp_path, caplog) -> None:
    bare(folder, tmp_path / "run").check(train=ROWS.to_pandas(), eval=pl.from_arrow(ROWS))
    says(caplog.text, "memory:eval", "trained on")
    caplog.clear()
    bare(folder, tmp_path / "run").check(train=ROWS, eval=EVALUATION)
    assert "trained on (memory" not in caplog.text
