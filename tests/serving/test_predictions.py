"""A file of predictions is either complete or absent, and keeps reserved columns unchanged."""

import datetime
import gc
import uuid
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from full_disk import files_up_to
from messages import fails
from storable import skip_unless_storable

from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.errors import ConfigError, DataError, UserError
from tzmmoe.serving import predictions
from tzmmoe.serving.predictions import PredictionWriter, prediction_columns

OUTPUTS = {"logits_ctr": torch.tensor([1.5, -2.0]), "probs_ctr": torch.tensor([0.25, 0.75])}
KIND = {"probs_kind": torch.tensor([[0.25, 0.75], [0.5, 0.5]])}
DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 5)


def batch(**columns: object) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_reserved_columns_come_first_then_the_outputs_that_were_chosen_in_order() -> None:
    reserved = batch(user=[7, 8], item=["a", "b"])
    assert list(prediction_columns(OUTPUTS, reserved, None)) == ["user", "item", *OUTPUTS]
    chosen = prediction_columns(OUTPUTS, reserved, ["probs_ctr"])
    assert list(chosen) == ["user", "item", "probs_ctr"]
    turned = prediction_columns(OUTPUTS, reserved, ["probs_ctr", "logits_ctr"])
    assert list(turned) == ["user", "item", "probs_ctr", "logits_ctr"]
    assert turned["logits_ctr"].to_pylist() == [1.5, -2.0]


def test_an_unknown_output_is_an_error_with_the_nearest_or_all_names() -> None:
    with fails(ConfigError, "output_columns: 'prob_ctr' ", "did you mean 'probs_ctr'"):
        prediction_columns(OUTPUTS, batch(), ["prob_ctr"])
    with fails(ConfigError, "output_columns: 'x' ", "logits_ctr, probs_ctr"):
        prediction_columns(OUTPUTS, batch(), ["x"])
    with fails(ConfigError, "output_columns: is empty", "logits_ctr, probs_ctr"):
        prediction_columns(OUTPUTS, batch(user=[1, 2]), [])


def test_a_reserved_column_with_the_name_of_an_output_that_is_written_is_an_error() -> None:
    reserved = batch(probs_ctr=[1, 2])
    with fails(ConfigError, "reserved_columns: probs_ctr ", "output_columns"):
        prediction_columns(OUTPUTS, reserved, None)
    columns = prediction_columns(OUTPUTS, reserved, ["logits_ctr"])
    assert columns["probs_ctr"].to_pylist() == [1, 2]


def written(target: Path, batches: Iterable[pa.RecordBatch]) -> Path:
    """A file with the columns of each batch, one write after the other."""
    num_rows = 0
    with PredictionWriter(target) as writer:
        for each in batches:
            writer.write(dict(zip(each.schema.names, each.columns, strict=True)), each.num_rows)
            num_rows += each.num_rows
    assert writer.num_rows == num_rows
    return writer.path


TYPES = {
    "int8": pa.array([1, None, -3], pa.int8()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "float16": pa.array([1.5, None, float("inf")], pa.float16()),
    "float32": pa.array([0.1, None, float("-inf")], pa.float32()),
    "double": pa.array([0.1, None, -0.0]),
    "bool": pa.array([True, None, False]),
    "string": pa.array(['a,"b"\n|', None, ""]),
    "binary": pa.array([b"a", None, b"\xff\x00"]),
    "fixed binary": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int64())),
    "large list": pa.array([["a"], None, []], pa.large_list(pa.string())),
    "fixed list": pa.array([[1, 2], None, [3, None]], pa.list_(pa.int32(), 2)),
    "list of lists": pa.array([[[1], []], None, []]),
    "map": pa.array([[("a", 1.0)], None, []], pa.map_(pa.string(), pa.float64())),
    "struct": pa.array([{"a": 1, "b": [1]}, None, {"a": None, "b": None}]),
    "timestamp": pa.array([NOON, None, NOON], pa.timestamp("us")),
    "zoned timestamp": pa.array([NOON, None, NOON], pa.timestamp("ns", "Europe/Berlin")),
    "date": pa.array([DAY, None, DAY]),
    "time": pa.array([NOON.time(), None, NOON.time()], pa.time64("us")),
    "duration": pa.array([5, None, -5], pa.duration("us")),
    "decimal": pa.array([Decimal("1.20"), None, Decimal("-3.45")], pa.decimal128(10, 2)),
    "wide decimal": pa.array([Decimal("1.20"), None, Decimal("-9")], pa.decimal256(50, 2)),
    "null": pa.nulls(3),
    "uuid": pa.array([uuid.UUID(int=1).bytes, None, uuid.UUID(int=2).bytes], pa.uuid()),
}
# Texts are decoded on the way, so that their type is plain string, whatever it was.
TEXTS = {
    "large string": pa.array(["a", None, ""], pa.large_string()),
    "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
    "small dictionary": pa.DictionaryArray.from_arrays(
        pa.array([1, None, 0], pa.int8()), pa.array(["x", "y"])
    ),
    "list of dictionary": pa.array(
        [["a", "b"], None, ["a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))
    ),
}


def passed_through(values: pa.Array, folder: Path) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """A column as a file holds it, and after it was reserved, row by row."""
    file = folder / "input.parquet"
    pq.write_table(pa.table({"column": values}), file)
    [rows] = ParquetSource([str(file)]).read(str(file), ["column"], 0)
    output = written(folder / "output.parquet", (rows.slice(row, 1) for row in range(3)))
    return pq.read_table(file).column("column"), pq.read_table(output).column("column")


@pytest.mark.parametrize("kind", TYPES)
def test_a_reserved_column_of_any_type_is_kept_exactly(kind: str, tmp_path: Path) -> None:
    skip_unless_storable(lambda: TYPES[kind])
    before, after = passed_through(TYPES[kind], tmp_path)
    assert after.type == before.type
    assert after.combine_chunks().equals(before.combine_chunks())


@pytest.mark.parametrize("kind", TEXTS)
def test_reserved_texts_are_kept_and_stored_as_plain_strings(kind: str, tmp_path: Path) -> None:
    before, after = passed_through(TEXTS[kind], tmp_path)
    assert after.type == (pa.list_(pa.string()) if kind.startswith("list") else pa.string())
    assert after.to_pylist() == before.to_pylist() == TEXTS[kind].to_pylist()


CELLS = {
    "int8": ["1", "", "-3"],
    "uint64": ["18446744073709551615", "", "0"],
    "float32": ["0.1", "", "-inf"],
    "double": ["0.1", "", "-0"],
    "bool": ["true", "", "false"],
    "string": ['"a,""b""\n|"', "", '""'],
    "list": ['"1|"', "", '""'],
    "large list": ['"a"', "", '""'],
    "fixed list": ['"1|2"', "", '"3|"'],
    "list of dictionary": ['"a|b"', "", '"a"'],
    "timestamp": ["2024-02-29 12:00:00.000005", "", "2024-02-29 12:00:00.000005"],
    "date": ["2024-02-29", "", "2024-02-29"],
    "decimal": ["1.20", "", "-3.45"],
    "null": ["", "", ""],
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_of_csv_is_the_value_as_text_and_lists_are_joined(kind: str, tmp_path: Path) -> None:
    output = written(tmp_path / "output.csv", [batch(a=(TYPES | TEXTS)[kind], b=[1, 2, 3])])
    lines = "".join(f"{cell},{row}\n" for row, cell in enumerate(CELLS[kind], 1))
    assert output.read_text() == f'"a","b"\n{lines}'
    part = written(tmp_path / "part.csv", [batch(a=(TYPES | TEXTS)[kind], b=[1, 2, 3]).slice(1)])
    assert part.read_text() == '"a","b"\n' + "".join(
        f"{cell},{row}\n" for row, cell in enumerate(CELLS[kind][1:], 2)
    )


@pytest.mark.parametrize("kind", ["list of lists", "map", "struct"])
def test_what_csv_cannot_hold_is_an_error_with_column_and_type(kind: str, tmp_path: Path) -> None:
    with fails(DataError, "output.csv: ", "'a'", str(TYPES[kind].type), ".parquet"):
        written(tmp_path / "output.csv", [batch(a=TYPES[kind])])
    assert not list(tmp_path.iterdir())


def test_outputs_of_several_numbers_are_lists_in_parquet_and_joined_in_csv(tmp_path: Path) -> None:
    columns = prediction_columns(KIND, batch(user=[1, 2]), None)
    both = pa.RecordBatch.from_pydict(columns)
    rows = pq.read_table(written(tmp_path / "out.parquet", [both])).to_pylist()
    assert rows[0] == {"user": 1, "probs_kind": [0.25, 0.75]}
    lines = written(tmp_path / "out.csv", [both]).read_text().splitlines()
    assert lines == ['"user","probs_kind"', '1,"0.25|0.75"', '2,"0.5|0.5"']


def test_float32_outputs_come_back_bit_by_bit_from_csv(tmp_path: Path) -> None:
    values = torch.rand(1000, generator=torch.Generator().manual_seed(3))
    columns = prediction_columns({"probs_ctr": values}, batch(), None)
    with PredictionWriter(tmp_path / "out.csv") as writer:
        writer.write(columns, 1000)
    read = np.loadtxt(tmp_path / "out.csv", skiprows=1, dtype=np.float32)
    assert np.array_equal(read, values.numpy())


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_rows_keep_their_order_over_many_uneven_writes(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "ROWS", 10)
    sizes = [1, 0, 9, 10, 3, 25, 0, 1]
    rows = batch(row=list(range(sum(sizes))))
    parts = [rows.slice(sum(sizes[:part]), size) for part, size in enumerate(sizes)]
    output = written(tmp_path / f"out.{suffix}", parts)
    if suffix == "parquet":
        assert pq.read_table(output).column("row").to_pylist() == list(range(49))
        assert pq.ParquetFile(output).num_row_groups > 2
    else:
        assert output.read_text().split() == ['"row"', *map(str, range(49))]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_no_rows_give_a_file_with_the_columns_and_their_types(suffix: str, tmp_path: Path) -> None:
    output = written(tmp_path / f"out.{suffix}", [batch(user=[1], name=["a"]).slice(1)])
    if suffix == "parquet":
        schema = pa.schema([("user", pa.int64()), ("name", pa.string())])
        assert pq.read_table(output).equals(schema.empty_table())
    else:
        assert output.read_text() == '"user","name"\n'


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    """512 MB of long texts are written; what is kept in memory never exceeds a row group."""
    text = pa.array(["x" * (1 << 20)] * 8)
    pool = pa.default_memory_pool()
    gc.collect()
    before, most = pool.bytes_allocated(), 0
    with PredictionWriter(tmp_path / "out.parquet") as writer:
        for _ in range(64):
            writer.write({"text": pa.concat_arrays([text, text.slice(0, 0)])}, 8)
            most = max(most, pool.bytes_allocated() - before)
    assert writer.num_rows == 512
    assert predictions.BYTES / 2 < most < 3 * predictions.BYTES


def test_a_column_that_changes_its_type_is_an_error_with_both_types(tmp_path: Path) -> None:
    with fails(DataError, "out.parquet: ", "'user'", "int64", "string", "store it as one"):
        written(tmp_path / "out.parquet", [batch(user=[1]), batch(user=["a"])])
    assert not list(tmp_path.iterdir())


def test_a_path_without_suffix_is_a_folder_for_part_0(tmp_path: Path) -> None:
    assert written(tmp_path / "deep" / "out", [batch(a=[1])]).name == "part-0.parquet"
    assert written(tmp_path / "out.v2", [batch(a=[1])]) == tmp_path / "out.v2" / "part-0.parquet"
    assert written(tmp_path / "deep" / "out.parquet", [batch(a=[1])]).is_file()


OTHERS = [
    *("out.csv.gz", "out.tsv", "out.txt", "out.PARQUET", "out.pq", "out.json", "out.JSONL"),
    *("out.feather", "out.xlsx", "out.npy", "out.csv.zip", "deep/out.h5"),
]


@pytest.mark.parametrize("name", OTHERS)
def test_the_suffix_of_another_kind_of_file_is_an_error(name: str, tmp_path: Path) -> None:
    for refuse in (PredictionWriter, predictions.check_form):
        with fails(DataError, f"{name}: ", ".parquet or .csv file, or a folder"):
            refuse(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out", "out.v2", "run-1.5", "2024.01"])
def test_files_that_are_written_and_names_of_folders_have_a_form_that_is_accepted(
    name: str, tmp_path: Path
) -> None:
    predictions.check_form(tmp_path / name)


def test_a_file_of_that_name_is_replaced_at_the_end_and_not_before(tmp_path: Path) -> None:
    target = written(tmp_path / "out.parquet", [batch(a=["old"])])
    old = target.read_bytes()
    with PredictionWriter(target) as writer:
        writer.write({"a": pa.array(["new"])}, 1)
        assert target.read_bytes() == old
    assert pq.read_table(target).to_pylist() == [{"a": "new"}]
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_a_folder_with_parts_of_other_predictions_is_not_added_to(tmp_path: Path) -> None:
    target = written(tmp_path / "out", [batch(a=[1])])
    written(tmp_path / "out", [batch(a=[2])])
    assert pq.read_table(target).to_pylist() == [{"a": 2}]
    written(tmp_path / "out" / "part-1.parquet", [batch(a=[3])])
    with fails(DataError, f"{tmp_path / 'out'}: ", "part-1.parquet", "choose a new folder"):
        PredictionWriter(tmp_path / "out")


@pytest.mark.parametrize("error", [DataError("a bad row"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_run_that_fails_or_is_interrupted_leaves_what_was_there(
    error: BaseException, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "ROWS", 1)
    target = tmp_path / f"out.{suffix}"
    target.write_text("old")

    def rows() -> Iterator[pa.RecordBatch]:
        yield batch(a=[1])
        raise error

    with pytest.raises(type(error)):
        written(target, rows())
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("rows_at_once", [1, 1 << 16], ids=["while writing", "while closing"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_full_disk_is_an_error_with_the_files_name_and_leaves_what_was_there(
    suffix: str, rows_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "ROWS", rows_at_once)
    target = tmp_path / f"out.{suffix}"
    target.write_text("old")
    numbers = batch(a=np.random.default_rng(0).random(1000))
    with fails(DataError, f"{target} cannot be written"), files_up_to(3000):
        written(target, [numbers] * 5)
    gc.collect()  # a writer that is not closed would complain here
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_place_where_nothing_can_be_written_is_an_error_before_the_first_row(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.parquet").mkdir()
    for place in ("file", "file/out", "file/out.csv", "folder.parquet"):
        with pytest.raises(UserError, match=place), PredictionWriter(tmp_path / place):
            pytest.fail("nothing can be written here")
    with (
        fails(DataError, "/proc/no/out.csv cannot be written: "),
        PredictionWriter("/proc/no/out.csv"),
    ):
        pytest.fail("nothing can be written here")
    assert (tmp_path / "file").read_text() == "mine"
