"""data_config of EasyRec -> ours."""

from pathlib import Path

import pytest
from drafting.easyrec.pipelines import BUILT_IN, convert, refused
from written import changed

from tzmmoe.config.dialects.easyrec.ranges import names_of
from tzmmoe.protos.data_pb2 import DataConfig, DatasetType, FieldType

BATCH, CSV = "batch_size: 16", "input_type: CSVInput"


def data(folder: Path, *changes: tuple[str, str]):
    return convert(folder, changed(*changes, text=BUILT_IN))


@pytest.mark.parametrize(
    ("kind", "dataset", "quoting"),
    [
        ("CSVInput", "CsvDataset", "OFF"),
        ("CSVInputEx", "CsvDataset", "DOUBLED"),
        ("CSVInputV2", "CsvDataset", "AUTO"),
        ("ParquetInput", "ParquetDataset", "AUTO"),
    ],
)
def test_inputs_of_files_have_a_reader(tmp_path: Path, kind, dataset, quoting) -> None:
    made = data(tmp_path, (CSV, f"input_type: {kind}")).data
    assert DatasetType.Name(made.dataset_type) == dataset
    assert DataConfig.Quoting.Name(made.quoting) == quoting


@pytest.mark.parametrize("kind", ["HiveInput", "OdpsInputV3", "KafkaInput", "TFRecordInput"])
def test_other_inputs_are_left_out_with_their_paths(tmp_path: Path, kind: str) -> None:
    made = data(tmp_path, (CSV, f"input_type: {kind}"))
    assert not made.data.HasField("dataset_type")
    assert not made.pipeline.HasField("train_input_path")
    assert made.pipeline.model_dir == "experiments/mmoe"
    words = f"train_input_path: {kind} reads no files here; pass --train_input_path"
    assert words in made.plain


def test_types_of_columns_go_by_their_names_whose_numbers_differ(tmp_path: Path) -> None:
    kinds = ("INT32", "INT64", "STRING", "FLOAT", "DOUBLE", "BOOL")
    more = "".join(f"input_fields {{ input_name: '{k}' input_type: {k} }}" for k in kinds)
    columns = data(tmp_path, ("prefetch_size: 32", more)).data.input_fields
    types = {field.input_name: FieldType.Name(field.input_type) for field in columns}
    assert all(types[kind] == kind for kind in kinds)


def test_unset_fields_have_easyrecs_defaults(tmp_path: Path) -> None:
    made = data(tmp_path, (BATCH, "")).data
    assert (made.batch_size, made.eval_batch_size) == (32, 4096)
    assert (made.shuffle, made.delimiter, made.with_header) == (True, ",", False)


@pytest.mark.parametrize(("rows", "batches"), [(1, 1), (16, 1), (17, 2), (1600, 100)])
def test_the_buffer_of_rows_becomes_batches(tmp_path: Path, rows: int, batches: int) -> None:
    made = data(tmp_path, (BATCH, f"{BATCH} shuffle_buffer_size: {rows}"))
    assert made.data.shuffle_buffer_size == batches
    assert f"of {rows:,} rows there" in made.text
    still = data(tmp_path, (BATCH, f"{BATCH} shuffle: false shuffle_buffer_size: {rows}"))
    assert not still.data.shuffle
    assert not still.data.HasField("shuffle_buffer_size")
    assert "buffer counts rows" not in still.plain


def test_separators_and_headers_are_carried_over(tmp_path: Path) -> None:
    made = data(tmp_path, (BATCH, f"{BATCH} separator: '\\001' with_header: true"))
    assert made.data.delimiter == "\x01"
    assert made.data.with_header


def test_values_to_ignore_stand_for_missing_ones(tmp_path: Path) -> None:
    made = data(
        tmp_path, ('"user" input_type: STRING', '"user" input_type: STRING ignore_val: "x"')
    )
    assert list(made.features["user"].na_values) == ["x"]


def test_settings_of_the_reader_are_told(tmp_path: Path) -> None:
    idle = "num_parallel_calls: 4 selected_cols: 'a,b' pai_worker_queue: true file_shard: true"
    made = data(tmp_path, (BATCH, f"{BATCH} {idle}"))
    for name in ("prefetch_size", "num_parallel_calls", "selected_cols", "pai_worker_queue"):
        assert f"data_config.{name}: {made.said.idle[f'data_config.{name}']}" in made.plain


def test_files_of_parquet_and_of_features_elsewhere(tmp_path: Path) -> None:
    paths = ('train_input_path: "train.csv"', 'parquet_train_input: "p/*.parquet"')
    made = data(tmp_path, paths, (CSV, "input_type: ParquetInput"))
    assert made.pipeline.train_input_path == "p/*.parquet"
    [said] = refused(
        tmp_path, changed(('"eval.csv"', '"e" fg_json_path: "fg.json"'), text=BUILT_IN)
    )
    assert "fg_json_path: " in said
    assert "write them out" in said


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("f[1-3]", ["f1", "f2", "f3"]),
        ("tag_[9-11]", ["tag_9", "tag_10", "tag_11"]),
        ("f[7-7]", ["f7"]),
        ("f", ["f"]),
        ("f[a-b]", ["f[a-b]"]),
        ("f[1]", ["f[1]"]),
    ],
)
def test_a_range_of_names_stands_for_each_of_them(text: str, names: list[str]) -> None:
    assert names_of(text) == names


@pytest.mark.parametrize("text", ["f[3-1]", "f[1-1000000000]"])
def test_a_range_that_is_no_list_of_names_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"f\[\d+-\d+\]"):
        names_of(text)
    said = refused(tmp_path, changed(('feature_names: "price"', f'feature_names: "{text}"'),
                                     text=BUILT_IN))  # fmt: skip
    assert any("feature_groups[0].feature_names[2]" in line and text in line for line in said)
