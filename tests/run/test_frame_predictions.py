"""Predictions for rows in memory: those for the file of the rows, in the caller's container."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from containers import CONTAINERS, Stream
from e2e import tiny
from messages import fails

from tzmmoe.errors import ConfigError, DataError
from tzmmoe.pipeline import Pipeline

ROWS = tiny.rows(500, 50)
OUTPUTS = ["logits_ctr", "probs_ctr", "logits_cvr", "probs_cvr"]
KINDS = {"table_in_chunks": pa.Table, "stream": pa.Table, "dataset": pa.RecordBatchReader}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps on files, and what it predicts for a file of ROWS."""
    folder = tiny.write_all(tmp_path_factory.mktemp("predicted"), files=(60,))
    tiny.pipeline(folder, folder / "run", train_config__num_steps=3).fit()
    tiny.write(ROWS, folder / "rows.parquet")
    made(folder).predict(str(folder / "rows.parquet"), str(folder / "outputs.parquet"))
    return folder


def made(folder: Path) -> Pipeline:
    return tiny.pipeline(folder, folder / "run")


def table_of(rows: object) -> pa.Table:
    """What a container of predictions holds."""
    if isinstance(rows, dict):
        return pa.table(rows)
    if isinstance(rows, pd.DataFrame):
        return pa.Table.from_pandas(rows, preserve_index=False)
    if isinstance(rows, pl.DataFrame):
        return rows.to_arrow()
    if isinstance(rows, pa.RecordBatchReader):
        return rows.read_all()
    return rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])


@pytest.mark.parametrize("container", CONTAINERS)
def test_predictions_come_in_the_container_of_the_rows_and_equal_those_for_the_file(
    folder, container
) -> None:
    rows = CONTAINERS[container](ROWS)
    found = made(folder).predict(rows, batch_size=7)
    assert isinstance(found, KINDS.get(container, type(rows)))
    expected, found = pq.read_table(folder / "outputs.parquet"), table_of(found)
    assert found.schema.names == OUTPUTS == expected.schema.names
    for name in OUTPUTS:  # batches of another size may round otherwise
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5)


def test_a_dataframe_keeps_its_index_order_and_the_columns_that_are_asked_for(folder) -> None:
    frame = ROWS.to_pandas()
    frame["city"] = frame["city"].astype("category")
    whole = made(folder).predict(frame)
    chosen = frame[frame["age"] > 40].sort_values("price")
    chosen.index = chosen.index.map(lambda row: ("x", row))
    found = made(folder).predict(chosen, keep=["city", "row"], output_columns="probs_ctr")
    assert list(found.columns) == ["city", "row", "probs_ctr"]
    pd.testing.assert_frame_equal(found[["city", "row"]], chosen[["city", "row"]])
    assert 0 < len(found) < len(frame)
    picked = whole["probs_ctr"].to_numpy()[found["row"] - 500]
    np.testing.assert_allclose(found["probs_ctr"].to_numpy(), picked, rtol=1e-5)


def test_the_rows_that_were_given_are_left_as_they_were(folder) -> None:
    frame = ROWS.to_pandas()
    found = made(folder).predict(frame, keep="price")
    found.loc[:, "price"] = 0.0
    pd.testing.assert_frame_equal(frame, ROWS.to_pandas())
    columns = {name: [*cells] for name, cells in ROWS.to_pydict().items()}
    made(folder).predict(columns)
    assert columns == ROWS.to_pydict()


@pytest.mark.parametrize("container", ["table", "record_batch", "polars", "dict_of_arrays"])
def test_kept_columns_are_the_callers_own(folder, container) -> None:
    rows = CONTAINERS[container](ROWS)
    found = table_of(made(folder).predict(rows, keep=["row", "city"]))
    assert found.schema.names == ["row", "city", *OUTPUTS]
    assert found["row"].to_pylist() == ROWS["row"].to_pylist()
    assert found["city"].to_pylist() == ROWS["city"].to_pylist()


@pytest.mark.parametrize("container", ["pandas", "polars", "table", "dict_of_arrays"])
def test_no_rows_give_no_predictions_in_the_same_container(folder, container) -> None:
    rows = CONTAINERS[container](ROWS.slice(0, 0))
    found = made(folder).predict(rows, keep=["row"])
    assert isinstance(found, type(rows))
    assert table_of(found).schema.names == ["row", *OUTPUTS]
    assert table_of(found).num_rows == 0


def test_labels_are_not_needed_and_the_order_of_columns_does_not_matter(folder) -> None:
    frame = ROWS.to_pandas()
    bare = frame[["age", "price", "city", "scores", "tags", "user"]]
    pd.testing.assert_frame_equal(made(folder).predict(bare), made(folder).predict(frame))


def test_an_output_of_several_classes_has_two_axes_or_a_list_in_each_row(tmp_path) -> None:
    tower = 'tower_name: "cvr" label_name: "buy"'
    folder = tiny.write_all(tmp_path, files=(60,))
    config = (folder / "tiny.config").read_text()
    assert tower in config
    config = config.replace(tower, f"{tower} num_class: 2")
    head, _, tail = config.rpartition("metrics { auc {} }")
    tail = tail.replace("binary_cross_entropy", "softmax_cross_entropy")
    (folder / "tiny.config").write_text(head + tail)
    pipeline = tiny.pipeline(folder, folder / "run", train_config__num_steps=2)
    pipeline.fit()
    found = pipeline.predict(ROWS.to_pydict())["probs_cvr"]
    assert found.shape == (50, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    frame = pipeline.predict(ROWS.to_pandas())
    np.testing.assert_array_equal(np.stack(frame["probs_cvr"]), found)
    assert pipeline.predict(pl.from_arrow(ROWS))["probs_cvr"].to_list() == found.tolist()


MISTAKES: dict[str, tuple[Callable[[Pipeline], object], type[Exception], list[str]]] = {
    "texts where numbers were": (
        lambda p: p.predict(ROWS.to_pandas().astype({"user": str})),
        DataError,
        ["memory:predict, column 'user'", "texts", "numbers", "convert"],
    ),
    "numbers where texts were": (
        lambda p: p.predict(ROWS.to_pandas().assign(city=3)),
        DataError,
        ["memory:predict, column 'city'", "numbers", "texts"],
    ),
    "times where numbers were": (
        lambda p: p.evaluate(ROWS.to_pandas().assign(age=pd.Timestamp(2024, 1, 1))),
        DataError,
        ["memory:test, column 'age'"],
    ),
    "a missing column": (
        lambda p: p.predict(ROWS.to_pandas().drop(columns="city")),
        DataError,
        ["memory:predict: no column 'city'"],
    ),
    "a list of dicts": (
        lambda p: p.predict(ROWS.to_pylist()),
        DataError,
        ["memory:predict", "list", "pandas.DataFrame(rows)"],
    ),
    "nothing": (lambda p: p.predict(None), DataError, ["memory:predict", "NoneType"]),
    "a file without an output": (
        lambda p: p.predict("rows.parquet"),
        ConfigError,
        ["predict_output_path", "not set", ".parquet"],
    ),
    "an output for a frame": (
        lambda p: p.predict(ROWS, "out.parquet"),
        ConfigError,
        ["predict_output_path", "frame"],
    ),
    "reserved columns of a frame": (
        lambda p: p.predict(ROWS, reserved_columns=["row"]),
        ConfigError,
        ["reserved_columns", "keep"],
    ),
    "kept columns of a file": (
        lambda p: p.predict("rows.parquet", "out.parquet", keep=["row"]),
        ConfigError,
        ["keep", "reserved_columns"],
    ),
    "a misspelt column to keep": (
        lambda p: p.predict(ROWS, keep=["rwo"]),
        ConfigError,
        ["keep", "'rwo'", "'row'"],
    ),
    "a kept column of an output's name": (
        lambda p: p.predict(ROWS.append_column("probs_ctr", ROWS["price"]), keep=["probs_ctr"]),
        ConfigError,
        ["keep", "probs_ctr", "rename"],
    ),
    "an output that there is not": (
        lambda p: p.predict(ROWS, output_columns=["prob_ctr"]),
        ConfigError,
        ["prob_ctr", "probs_ctr"],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_with_its_remedy(folder, case) -> None:
    act, kind, parts = MISTAKES[case]
    with fails(kind, *parts):
        act(made(folder))


def test_whole_numbers_with_missing_ones_are_numbers_as_before(folder) -> None:
    """pandas then stores them as floats, or as Int64."""
    frame = ROWS.to_pandas()
    frame["age"] = frame["age"].astype(float).where(frame["row"] % 2 == 0)
    floats = made(folder).predict(frame)
    pd.testing.assert_frame_equal(made(folder).predict(frame.astype({"age": "Int64"})), floats)


def test_a_column_without_any_value_has_no_kind(folder) -> None:
    without = ROWS.set_column(4, "city", pa.nulls(50))
    assert made(folder).predict(without).num_rows == 50


def test_a_model_of_csv_files_predicts_for_numbers_where_those_had_texts(tmp_path) -> None:
    """As every cell of a CSV file is one. Predictions equal those for a CSV file of the rows."""
    folder = tiny.write_all(tmp_path, suffix=".csv", files=(60,))
    tiny.pipeline(folder, folder / "run", train_config__num_steps=2).fit()
    file = tiny.write(ROWS, folder / "rows.csv")
    made(folder).predict(str(file), str(folder / "outputs.parquet"))
    expected, found = pq.read_table(folder / "outputs.parquet"), made(folder).predict(ROWS)
    for name in OUTPUTS:
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_neither_library_is_imported_for_rows_that_are_none_of_its(folder, library) -> None:
    code = f"""
import sys
import tzmmoe
assert "torch" not in sys.modules and "pyarrow" not in sys.modules
sys.modules[{library!r}] = None  # as if it were not installed
from tzmmoe import Pipeline
pipeline = Pipeline.load({str(folder / "tiny.config")!r},
                         settings={{"model_dir": {str(folder / "run")!r}}}, device="cpu")
import pyarrow.parquet as pq
rows = pq.read_table({str(folder / "rows.parquet")!r})
for given in (rows, rows.to_pydict(), rows.to_batches()[0]):
    pipeline.predict(given)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stream_is_read_once(folder) -> None:
    reader = ROWS.to_reader(max_chunksize=20)
    found = made(folder).predict(reader, keep=["row"])
    assert isinstance(found, pa.RecordBatchReader)
    expected = made(folder).predict(Stream(ROWS), keep=["row"])
    assert found.read_all().equals(expected)
