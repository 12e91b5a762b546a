"""Whatever stands in a job: it is converted to a config without faults, or refused with a path."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drafting.tencent.documents import INPUTS, JOB, REMOVED, convert

from tzmmoe.errors import ConfigError, Fault

STRANGE = [None, -1, "x y/ü", [[1], "a"], {"type": "x"}]


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Every place in a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in pairs:
        here = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".lstrip(".")
        yield here
        if isinstance(each, dict | list):
            yield from paths(each, here)


def faults(folder: Path, *documents: dict[str, Any]) -> list[Fault]:
    """None of a conversion whose config loads without faults."""
    try:
        convert(folder, *documents)
    except ConfigError as error:
        return error.faults
    return []


def placed(found: list[Fault]) -> bool:
    """Whether each fault says where it is, in the files that there are."""
    return all((fault.path or fault.where) and fault.where != "the config" for fault in found)


PATHS = [p for p in paths(JOB) if "is_favor" not in p and "play_num1" not in p and "[2]" not in p]


@pytest.mark.parametrize("path", PATHS)
def test_a_strange_value_in_the_job_is_converted_or_refused(tmp_path, path):
    for value in (*STRANGE, REMOVED):
        assert placed(faults(tmp_path, {path: value})), value


SOME = [p for p in paths(INPUTS) if "[" not in p or "[0]" in p or "[11]" in p]


@pytest.mark.parametrize("path", SOME)
def test_a_strange_value_in_the_inputs_is_converted_or_refused(tmp_path, path):
    for value in (*STRANGE, REMOVED):
        assert placed(faults(tmp_path, {}, {path: value})), value


OTHERS = (
    "default_value val_sep is_label is_sample_weight label_index exclude embedding_name shape "
    "embedding_combiner embedding_initializer vocab_list vocab_file hash_type num_oov_buckets "
    "bucket_boundaries zscore mean std one_hot weight_col is_sparse"
)


@pytest.mark.parametrize("dtype", ["int32", "float32", "str"])
@pytest.mark.parametrize("key", OTHERS.split())
def test_strange_values_of_other_keys_of_an_input_are_converted_or_refused(tmp_path, key, dtype):
    changes = {"inputs.defs[0].dtype": dtype}
    if key.startswith("vocab") or dtype == "float32":
        changes["inputs.defs[0].vocab_size"] = None
    for value in STRANGE:
        assert placed(faults(tmp_path, {}, changes | {f"inputs.defs[0].{key}": value})), value


MORE = {
    "job_detail.model_args": "expert_act expert_dropout task_dropout share_gates",
    "job_detail.train_data_args": "headers file_type shuffle shuffle_buffer_size",
    "job_detail.train_args": "grad_process mix_precision ckpt_path term_on_nan",
    "job_detail.train_args.optimizer.args": "lr beta_1 epsilon amsgrad weight_decay",
}


@pytest.mark.parametrize("path", [f"{o}.{key}" for o, keys in MORE.items() for key in keys.split()])
def test_strange_values_of_other_keys_of_a_job_are_converted_or_refused(tmp_path, path):
    for value in STRANGE:
        assert placed(faults(tmp_path, {path: value})), value


@pytest.mark.parametrize("value", ["\ud800", "\0", "", 10**20, 1e300, 0, {}, {"a": [None]}])
@pytest.mark.parametrize(
    "path",
    [
        "job_detail.model_input_config_file",
        "job_detail.model_args.name",
        "job_detail.model_args.num_experts",
        "job_detail.model_args.expert_layers[0]",
        "job_detail.model_args.task_structs[0][2]",
        "job_detail.train_args.batch_size",
        "job_detail.train_args.num_samples",
        "job_detail.train_args.metrics.is_click[0]",
        "job_detail.train_args.optimizer.args.learning_rate",
        "job_detail.train_data_args.data_file",
        "job_detail.train_data_args.field_delim",
    ],
)
def test_extreme_values_are_converted_or_refused(tmp_path, path, value):
    assert placed(faults(tmp_path, {path: value}))
