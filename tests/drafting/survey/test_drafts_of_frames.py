"""A draft for rows in memory is that for a Parquet file of them, and a run can be loaded again."""

import os
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from e2e import tiny
from messages import fails, says

import tzmmoe
from tzmmoe.errors import ConfigError, DataError, UserError

ROWS = tiny.rows(0, 600).drop_columns(["importance", "scores"])
LABELS = ["click", "buy"]
HOW = {"eval_fraction": 0.25, "ignore": ["row"], "device": "cpu"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(config: str) -> list[str]:
    """Of a config, without its heading and the line of its data."""
    _, _, text = Path(config).read_text().partition("\nmodel_dir")
    return text.splitlines()


@pytest.mark.parametrize("make", [pa.Table.to_pandas, pl.from_arrow, pa.Table.to_pydict])
def test_the_draft_for_a_frame_is_that_for_the_file_of_its_rows(folder, make) -> None:
    tiny.write(ROWS, folder / "rows.parquet")
    how = HOW | {"model_dir": "m"}
    tzmmoe.draft("rows.parquet", LABELS, "of_file.config", **how)
    pipeline = tzmmoe.draft(make(ROWS), LABELS, "of_frame.config", **how)
    assert lines("of_frame.config") == lines("of_file.config")
    text = Path("of_frame.config").read_text()
    says(text, 'train_input_path: "memory:train"', 'Pipeline.load("of_frame.config").fit(train=')
    pipeline.check(train=make(ROWS))


def test_rows_to_evaluate_on_are_a_frame_too(folder, caplog) -> None:
    caplog.set_level("INFO")
    how = {"ignore": ["row"], "device": "cpu"}
    frame, others = ROWS.slice(0, 400).to_pandas(), pl.from_arrow(ROWS.slice(400))
    pipeline = tzmmoe.draft(frame, LABELS, "two.config", eval_data=others, **how)
    says(Path("two.config").read_text(), 'eval_input_path: "memory:eval"', "eval=frame")
    pipeline.check(train=frame, eval=others)
    says(caplog.text, "the config fits the data")


def test_a_draft_without_out_trains_in_a_folder_of_its_own_and_can_be_loaded(folder) -> None:
    frame = ROWS.to_pandas()
    pipeline = tzmmoe.draft(frame, LABELS, **HOW)
    assert os.listdir(folder) == []
    results = pipeline.fit(train=frame)
    [run] = (folder / "experiments").iterdir()
    moved = run.rename(folder / "moved")
    loaded = tzmmoe.load(moved, device="cpu")
    pd.testing.assert_frame_equal(loaded.predict(frame), tzmmoe.load("moved").predict(frame))
    assert {"auc_click", "auc_buy"} <= results.keys() & loaded.evaluate(frame).keys()
    with fails(DataError, "memory:train", "fit(train=frame"):
        loaded.evaluate()


MISTAKES = {
    "a misspelt label": ({"data": ROWS, "labels": ["clik"]}, ["memory:train", "'clik'", "'click'"]),
    "a list of dicts": ({"data": ROWS.to_pylist(), "labels": LABELS}, ["data", "dict"]),
    "a number": ({"data": 3, "labels": LABELS}, ["int", "DataFrame"]),
    "nothing": ({"data": None, "labels": LABELS}, ["data", "NoneType"]),
    "no rows": ({"data": ROWS.slice(0, 0), "labels": LABELS}, ["memory:train", "no rows"]),
    "a delimiter": ({"data": ROWS, "labels": LABELS, "delimiter": ";"}, ["delimiter", "frame"]),
    "two ways to evaluate": (
        {"data": ROWS, "labels": LABELS, "eval_data": ROWS, "eval_fraction": 0.2},
        ["eval_fraction", "eval_data"],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_a_draft_is_told_and_leaves_nothing(folder, case) -> None:
    arguments, parts = MISTAKES[case]
    with fails(UserError, *parts):
        tzmmoe.draft(**arguments)
    assert os.listdir(folder) == []


def test_a_folder_without_a_run_cannot_be_loaded(folder) -> None:
    with fails(ConfigError, "model_dir", "nowhere", "pipeline.config"):
        tzmmoe.load("nowhere")
