"""The files and how they are read -> data_config and the paths."""

import math

import pytest
from drafting.tencent.documents import (
    INPUTS,
    JOB,
    REMOVED,
    TRAINING,
    convert,
    refused,
)

SETS = {
    "train_data_args": "train_input_path",
    "val_data_args": "eval_input_path",
    "test_data_args": "test_input_path",
}


@pytest.mark.parametrize("key", SETS)
def test_each_set_of_files_becomes_its_path(tmp_path, key):
    """S0.55, S0.56, S0.57: a file, a pattern, several by commas, or a list."""
    for value, expected in {
        "/a/x.csv": "/a/x.csv",
        "/a/*.csv": "/a/*.csv",
        "/a/x.csv,/a/y.csv": "/a/x.csv,/a/y.csv",
        "part-*.csv": f"{tmp_path}/part-*.csv",
    }.items():
        found = convert(tmp_path, {f"job_detail.{key}.data_file": value}).pipeline
        assert getattr(found, SETS[key]) == expected
    value = ["/a/x.csv", "${PACK_PATH}$/y.csv", "z.csv"]
    found = convert(tmp_path, {f"job_detail.{key}.data_file": value}).pipeline
    assert getattr(found, SETS[key]) == f"/a/x.csv,{tmp_path}/y.csv,{tmp_path}/z.csv"


def test_sets_that_a_job_does_not_have_are_not_in_the_config(tmp_path):
    """S0.55: only training must be."""
    changes = {f"job_detail.{key}": REMOVED for key in ("val_data_args", "test_data_args")}
    changes |= {f"{TRAINING}.early_stopping": REMOVED, "job_detail.eval_args": REMOVED}
    found = convert(tmp_path, changes).pipeline
    assert not found.HasField("eval_input_path")
    assert not found.HasField("test_input_path")
    assert not found.HasField("eval_config")
    assert not found.train_config.HasField("num_val_samples")
    found = convert(tmp_path, {"job_detail.test_data_args": REMOVED})
    assert "test_data_args is not set, so eval_args measures val_data_args" in found.plain
    said = "\n".join(refused(tmp_path, {"job_detail.train_data_args": REMOVED}))
    assert "job_detail.train_data_args" in said


@pytest.mark.parametrize("key", ["val_data_args", "test_data_args"])
@pytest.mark.parametrize(
    ("name", "value"), [("field_delim", "\t"), ("with_headers", False), ("field_delim", REMOVED)]
)
def test_files_that_are_read_in_different_ways_are_refused(tmp_path, key, name, value):
    """S0.55: there is one data_config."""
    (said,) = refused(tmp_path, {f"job_detail.{key}.{name}": value})
    assert said.startswith(f"job.json: job_detail.{key}.{name}: is ")
    assert "but that of train_data_args is " in said
    assert said.endswith("give one for all")


def everywhere(name: str, value) -> dict:
    return {f"job_detail.{key}.{name}": value for key in SETS}


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", " "])
def test_the_delimiter_is_taken_over(tmp_path, delimiter):
    """S0.55."""
    found = convert(tmp_path, everywhere("field_delim", delimiter)).pipeline
    assert found.data_config.delimiter == delimiter


def test_a_delimiter_that_cannot_be_one_is_refused(tmp_path):
    """S0.55."""
    said = refused(tmp_path, everywhere("field_delim", "||"))
    assert "job_detail.train_data_args.field_delim: is '||'; give one ASCII character" in said[0]


def names(found) -> list[str]:
    return [field.input_name for field in found.pipeline.data_config.input_fields]


def test_files_without_header_have_their_columns_named(tmp_path):
    """S0.55, S0.56: in the order of headers, or else of the definitions, unused ones too."""
    found = convert(tmp_path, everywhere("with_headers", False))
    assert not found.pipeline.data_config.with_header
    assert names(found) == [each["name"] for each in INPUTS["inputs"]["defs"]]
    for headers in (["b", " a "], "b, a"):
        changes = everywhere("with_headers", False) | everywhere("headers", headers)
        assert names(convert(tmp_path, changes)) == ["b", "a"]
    changes = everywhere("with_headers", None) | everywhere("headers", ["b", "a"])
    found = convert(tmp_path, changes)
    assert not found.pipeline.data_config.with_header
    assert names(found) == ["b", "a"]
    found = convert(tmp_path, everywhere("headers", ["b", "a"]))
    assert found.pipeline.data_config.with_header
    assert names(found) == []
    assert "headers: the files have their own" in found.plain


def test_rows_are_shuffled_only_when_asked(tmp_path):
    """S0.56."""
    assert not convert(tmp_path).pipeline.data_config.shuffle
    changes = {"job_detail.train_data_args.shuffle": True}
    config = convert(tmp_path, changes).pipeline.data_config
    assert config.shuffle
    assert config.shuffle_buffer_size == 2  # of 256 rows: twice the batch, as where it comes from
    changes["job_detail.train_data_args.shuffle_buffer_size"] = 1000
    config = convert(tmp_path, changes).pipeline.data_config
    assert config.shuffle_buffer_size == math.ceil(1000 / 256)
    found = convert(tmp_path, {"job_detail.val_data_args.shuffle": True})
    assert "val_data_args.shuffle: only training does so" in found.plain
    changes = {"job_detail.train_data_args.drop_remainder": True}
    assert convert(tmp_path, changes).pipeline.data_config.drop_remainder


def test_files_of_another_kind_are_refused(tmp_path):
    """S0.56."""
    assert convert(tmp_path, everywhere("file_type", "CSV"))
    said = refused(tmp_path, everywhere("file_type", "tfrecord"))
    assert "job_detail.train_data_args.file_type: 'tfrecord' is not supported; give csv" in said[0]
    found = convert(tmp_path, {"job_detail.train_data_args.cache": True})
    assert "train_data_args.cache: files are streamed" in found.plain


def test_the_file_of_results_is_where_the_job_says(tmp_path):
    """S0.72."""
    found = convert(tmp_path, variables={"EXPORT_PATH": "/results"}).pipeline
    assert found.eval_config.output_file == "/results/mmoev2-fm-2-res.json"
    found = convert(tmp_path, {"job_detail.eval_args.output_file": REMOVED}).pipeline
    assert not found.eval_config.HasField("output_file")
    assert JOB["job_detail"]["eval_args"]["output_file"].startswith("$EXPORT_PATH$/")
