"""Rows in memory are read as the same rows of a Parquet file are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import storage
from containers import CONTAINERS
from e2e import tiny
from messages import fails, says

from tzmmoe.batch import Batch, Position
from tzmmoe.data.frames import source
from tzmmoe.data.frames.frame import Frame
from tzmmoe.data.frames.source import FrameSource
from tzmmoe.data.loader import Loader
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.errors import DataError
from tzmmoe.run.session import Session

NUM_ROWS = 150


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a tiny frame has several."""
    monkeypatch.setattr(source, "ROWS", 32)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.write_all(tmp_path_factory.mktemp("one"), files=(NUM_ROWS,))
    return folder / "train" / "0.parquet"


def loader(file: Path, frame: object = None, **changes: object) -> Loader:
    """Of the file, or of a frame if one is given."""
    flag, path = "--train_input_path", str(file)
    pipeline = tiny.pipeline(file.parents[1], "unused", **changes)
    frames = {} if frame is None else {"memory:train": Frame.of(frame, "train")}
    if frames:
        path = pipeline.config.pipeline.train_input_path = "memory:train"
    session = Session.start(pipeline.config, device="cpu", trains=True, frames=frames)
    columns = session.built.tasks.columns()
    return session.loader(path, flag, columns, training=True, reserved=["row"])


def content(batch: Batch) -> list[object]:
    """All that a batch holds, comparable bit by bit."""
    inputs = batch.inputs
    parts = [np.asarray(inputs.numbers), *(np.asarray(c) for c in batch.columns.values())]
    for ids in [*inputs.ids.values(), *inputs.sequences.values()]:
        for part in (ids.values, ids.lengths, ids.weights):
            parts += [np.asarray([] if part is None else part)]
    return [part.tolist() for part in parts] + [batch.reserved["row"].to_pylist()]


def steps(made: Loader, epochs: int = 2, since: Position | None = None) -> list[tuple]:
    begin = since or Position()
    found = [(content(batch), position) for batch, position in made.epoch(begin)]
    for epoch in range(begin.epoch + 1, epochs):
        found += [(content(batch), place) for batch, place in made.epoch(Position(epoch))]
    return [(repr(cells), position) for cells, position in found]  # NaN is equal to itself so


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("shuffle", ["true", "false"])
def test_batches_of_a_frame_are_those_of_the_file_with_the_same_rows(
    file, container, shuffle
) -> None:
    """Ids, numbers, labels, order and positions, over two epochs."""
    frame = CONTAINERS[container](pq.read_table(file))
    expected = steps(loader(file, data_config__shuffle=shuffle))
    assert len(expected) == 2 * -(-NUM_ROWS // 16)
    assert steps(loader(file, frame, data_config__shuffle=shuffle)) == expected


def test_the_split_of_the_config_divides_a_frame_as_it_divides_the_file(file) -> None:
    changes = {"data_config__eval_split": "fraction: 0.3", "eval_input_path": ""}
    expected = steps(loader(file, **changes))
    assert 2 < len(expected) < 2 * NUM_ROWS // 16
    for container in ("pandas_categories", "polars", "dict_of_arrays"):
        frame = CONTAINERS[container](pq.read_table(file))
        assert steps(loader(file, frame, **changes)) == expected


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_share_a_frame_as_they_share_the_file(file, world, shuffle) -> None:
    """Each gets the same batches, and all of them together every row once."""
    frame, rows = pq.read_table(file).to_pandas(), []
    for rank in range(world):
        made = [loader(file), loader(file, frame)]
        of_rank = [
            Loader(
                each.source,
                each.assembler,
                replace(each.delivery, rank=rank, world=world, shuffle=shuffle),
                {each.source.files[0]: NUM_ROWS},
            )
            for each in made
        ]
        expected, found = (steps(each, epochs=1) for each in of_rank)
        assert found == expected
        batches = of_rank[1].epoch(Position())
        rows += [row for batch, _ in batches for row in batch.reserved["row"].to_pylist()]
    assert sorted(rows) == list(range(NUM_ROWS))


@pytest.mark.parametrize("shuffle", ["true", "false"])
@pytest.mark.parametrize("step", [0, 3, 8])
def test_a_loader_that_resumes_on_a_frame_delivers_what_was_left(file, shuffle, step) -> None:
    frame = pq.read_table(file).to_pandas()
    whole = loader(file, frame, data_config__shuffle=shuffle)
    expected = steps(whole)
    saved, position = whole._plan(0), expected[step][1]
    resumed = loader(file, frame, data_config__shuffle=shuffle)
    since = resumed.resume([(type(saved).from_json(saved.to_json()), position)], step + 1)
    assert steps(resumed, since=since) == expected[step + 1 :]


def test_an_order_is_saved_under_the_frames_name_whatever_the_working_directory(
    file, monkeypatch, tmp_path
) -> None:
    order = loader(file, pq.read_table(file)).order
    monkeypatch.chdir(tmp_path)
    assert order.to_json()["files"] == ["memory:train"]


def test_a_bad_value_is_told_with_the_frame_and_its_row(file) -> None:
    frame = pq.read_table(file).to_pandas()
    frame["price"] = frame["price"].astype(object)
    frame.loc[16, "price"] = "cheap"
    frame["price"] = frame["price"].astype(str)
    frame.index = frame.index[::-1]
    with fails(DataError, "memory:train, row 17", "price", "cheap"):
        steps(loader(file, frame, data_config__shuffle="false"))


# Parquet stores a duration in a dictionary as a number.
TYPES = [name for name in storage.CASES if not name.startswith("coded_duration")]


@pytest.mark.parametrize("name", TYPES)
def test_each_type_is_read_as_a_parquet_file_stores_it(name, tmp_path) -> None:
    kind, values = storage.CASES[name]
    table = pa.table({"x": storage.stored(kind, values * 9)})
    path = str(tmp_path / "x.parquet")
    pq.write_table(table, path)
    [stored], [given] = (
        [pa.Table.from_batches(made.read(made.files[0], ["x"], 5)).combine_chunks()]
        for made in (ParquetSource([path]), FrameSource(Frame.of(table, "train")))
    )
    assert repr(given["x"].to_pylist()) == repr(stored["x"].to_pylist())
    assert len(given) == len(table) - 5


@pytest.mark.parametrize("name", storage.CASES)
def test_a_frame_is_read_in_the_types_that_are_told_before(name) -> None:
    """But for dictionaries, in which texts may be read."""
    kind, values = storage.CASES[name]
    for chunks in ([values * 9], [values] * 9):
        arrays = [storage.stored(kind, part) for part in chunks]
        made = FrameSource(Frame.of(pa.table({"x": pa.chunked_array(arrays)}), "train"))
        [told] = made.types("memory:train", ["x"])
        for batch in made.read("memory:train", ["x"], 0):
            found = batch["x"].type
            assert told == (found.value_type if pa.types.is_dictionary(found) else found)


def read_back(cells: object) -> list[object]:
    """What a source reads of one column of a DataFrame."""
    made = FrameSource(Frame.of(pd.DataFrame({"x": cells}), "train"))
    return [v for batch in made.read("memory:train", ["x"], 0) for v in batch["x"].to_pylist()]


MISSING: dict[str, tuple[object, Sequence[object]]] = {
    "NaN in floats": (np.array([1.5, np.nan]), [1.5, None]),
    "NA in whole numbers": (pd.array([3, pd.NA], "Int64"), [3, None]),
    "NA in booleans": (pd.array([True, pd.NA], "boolean"), [True, None]),
    "None among texts": (["a", None], ["a", None]),
    "NaN among texts": (pd.Series(["a", np.nan], dtype=object), ["a", None]),
    "NA among texts": (pd.Series(["a", pd.NA], dtype=object), ["a", None]),
    "a category that is missing": (pd.Categorical(["b", None], ["z", "b"]), ["b", None]),
    "a number that is missing as category": (pd.Categorical([7, None]), [7, None]),
    "NaT": (pd.to_datetime(pd.Series(["2024-02-29", None])), [pd.Timestamp(2024, 2, 29), None]),
}


@pytest.mark.parametrize("case", MISSING)
def test_every_form_of_a_missing_value_is_null_and_categories_are_their_values(case) -> None:
    cells, expected = MISSING[case]
    assert read_back(cells) == expected


def test_a_frame_with_more_categories_than_a_block_has_rows_is_read_by_its_values() -> None:
    """Without handing all of its categories out with each block."""
    words = [f"w{number}" for number in range(500)]
    made = FrameSource(Frame.of(pd.DataFrame({"x": pd.Categorical(words[:80], words)}), "train"))
    batches = list(made.read("memory:train", ["x"], 0))
    assert [v for batch in batches for v in batch["x"].to_pylist()] == words[:80]
    assert max(len(batch["x"].dictionary) for batch in batches) <= 32


def test_a_table_of_two_axes_is_a_list_in_each_row() -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    made = FrameSource(Frame.of({"x": vectors, "id": [1, 2, 3, 4]}, "train"))
    [batch] = made.read("memory:train", ["x"], 0)
    assert batch["x"].to_pylist() == vectors.tolist()


REFUSED: dict[str, tuple[object, Sequence[str]]] = {
    "two columns of one name": (
        pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]),
        ["memory:train", "2 columns", "'a'", "rename"],
    ),
    "columns without names": (pd.DataFrame([[1, 2]]), ["memory:train", "0", "rename"]),
    "a hierarchy of columns": (
        pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
        ["('a', 'b')", "rename"],
    ),
    "a table with a name twice": (
        pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]),
        ["2 columns", "'a'"],
    ),
    "columns of two lengths": ({"a": [1, 2], "b": [1]}, ["'a' 2", "'b' 1"]),
    "a number as column": ({"a": 3}, ["column 'a'", "int", "array"]),
    "a text as column": ({"a": "xyz"}, ["column 'a'", "str", "array"]),
    "several types in a column": ({"a": [1, "x"]}, ["memory:train, column 'a'", "astype(str)"]),
    "types mixed in a DataFrame": (
        pd.DataFrame({"a": ["x", 1]}),
        ["memory:train, column 'a'", "astype(str)"],
    ),
    "periods": (
        pd.DataFrame({"a": pd.Series([1 + 2j])}),
        ["memory:train, column 'a'", "convert"],
    ),
    "a list of dicts": ([{"a": 1}], ["list", "pandas.DataFrame(rows)"]),
    "a path": ("rows.parquet", ["str", "DataFrame", "config"]),
    "a lazy frame": (CONTAINERS["polars"](pa.table({"a": [1]})).lazy(), ["collect()"]),
    "a number": (3, ["int", "DataFrame"]),
    "no rows": (pd.DataFrame({"a": []}), ["memory:train", "no rows"]),
    "no columns": (pd.DataFrame(index=[1, 2]), ["2 rows", "no columns"]),
    "a column of a frame": (pd.Series([1], name="a"), ["memory:train", "Arrow"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_frame_is_refused_with_what_to_do(case) -> None:
    rows, parts = REFUSED[case]
    with fails(DataError, *parts):
        Frame.of(rows, "train")


def test_a_missing_and_a_misspelt_column_are_told_with_the_nearest_name(file) -> None:
    frame = pq.read_table(file).to_pandas().rename(columns={"price": "prise"})
    with pytest.raises(DataError) as caught:
        loader(file, frame.drop(columns="age"))
    says(caught.value, "memory:train: no column 'price'", "'prise'", "no column 'age'")


def test_settings_that_concern_csv_files_only_are_told_to_have_no_effect(file, caplog) -> None:
    loader(file, pq.read_table(file), data_config__delimiter=";")
    says(caplog.text, "data_config.delimiter", "no effect", "memory:train")
