"""Strange values in a job: which ones are accepted, and what is said of all others.

The tables are written from docs/convert.md and the document of the jobs. A key that is not in them
may be null or left out, and nothing else.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drafting.tencent.documents import INPUTS, JOB, REMOVED, Converted, convert

from tzmmoe.errors import ConfigError, Fault, lies_in

STRANGE = {
    "null": None,
    "negative": -1,
    "text": "x y/ü",
    "list": [[1], "a"],
    "object": {"type": "x"},
    "removed": REMOVED,
}
REMEDIES = re.compile(
    r"; .*\b(give|set|add|remove|replace|name|write|define|list|keep|rename|check|choose|pass"
    r"|did you mean|there are)\b"
)


def table(text: str) -> dict[str, set[str]]:
    """{path: strange values}; ``-`` for none, ``all`` for every one."""
    rows = [line.split() for line in text.strip().splitlines()]
    sets = {"-": set(), "all": set(STRANGE)}
    return {path: sets.get(values[0], set(values)) for path, *values in rows}


# Values that are accepted and change the config.
TAKEN = table("""
    job_detail                                       -
    job_detail.model_input_config_file               -
    job_detail.model_args                            -
    job_detail.model_args.name                       null removed text
    job_detail.model_args.task_structs               -
    job_detail.model_args.task_structs[0]            -
    job_detail.model_args.task_structs[0][0]         removed
    job_detail.model_args.task_structs[0][1]         removed
    job_detail.model_args.task_structs[1]            -
    job_detail.model_args.task_structs[1][0]         removed
    job_detail.model_args.task_structs[1][1]         removed
    job_detail.model_args.num_experts                -
    job_detail.model_args.expert_layers              -
    job_detail.model_args.expert_layers[0]           removed
    job_detail.model_args.expert_layers[1]           removed
    job_detail.model_args.wide_type                  null removed text
    job_detail.model_args.output_cross               null removed negative
    job_detail.train_data_args                       -
    job_detail.train_data_args.data_file             text
    job_detail.train_data_args.field_delim           -
    job_detail.train_data_args.with_headers          -
    job_detail.val_data_args                         -
    job_detail.val_data_args.data_file               text
    job_detail.val_data_args.field_delim             -
    job_detail.val_data_args.with_headers            -
    job_detail.test_data_args.data_file              text
    job_detail.test_data_args.field_delim            -
    job_detail.test_data_args.with_headers           -
    job_detail.train_args                            -
    job_detail.train_args.losses                     -
    job_detail.train_args.ckpt_path                  null removed text
    job_detail.train_args.metrics.is_click           -
    job_detail.train_args.metrics.is_click[0]        removed
    job_detail.train_args.metrics.is_click[1]        removed
    job_detail.train_args.tensorboard.profile_batch[0]  removed
    job_detail.train_args.tensorboard.profile_batch[1]  removed
    job_detail.train_args.early_stopping.min_delta   null removed negative
    job_detail.eval_args.metrics.is_click[0]         removed
    job_detail.eval_args.metrics.is_click[1]         removed
    job_detail.eval_args.output_file                 null removed text
    version                                          -
    inputs                                           -
    inputs.defs                                      -
    inputs.defs[0]                                   -
    inputs.defs[0].name                              -
    inputs.defs[0].dtype                             -
    inputs.defs[0].embedding_dim                     -
    inputs.defs[11]                                  -
    inputs.defs[11].name                             -
    inputs.defs[11].is_label                         -
    inputs.groups.wide                               -
    inputs.groups.wide[0]                            removed
    inputs.groups.mmoe                               -
    inputs.groups.mmoe[0]                            removed
    inputs.groups.labels                             removed
    inputs.groups.labels[0]                          removed
""")
# Keys that the report lists as without effect, whatever they hold.
IDLE = {
    "pod_affin",
    "job_detail.train_args.term_on_nan",
    "job_detail.train_data_args.shuffle_buffer_size",  # the job does not shuffle
}
UNREAD = {"inputs.defs[11].dtype"}  # a label is a number, whatever its type is called
# Where a fault is found, when that is not the place of the value: in what no longer fits it.
ELSEWHERE = {
    "job_detail.train_args.metrics.is_click": "job_detail.model_args.task_structs",
    "job_detail.train_data_args.field_delim": "job_detail.val_data_args.field_delim",
    "job_detail.train_data_args.with_headers": "job_detail.val_data_args.with_headers",
    "job_detail.val_data_args": "job_detail.train_args.early_stopping",
    "inputs.defs[0]": "inputs.groups.wide[0]",
    "inputs.defs[0].name": "inputs.groups.wide[0]",
    "inputs.defs[11]": "inputs.groups.labels[0]",
    "inputs.defs[11].name": "inputs.groups.labels[0]",
    "inputs.groups.wide": "job_detail.model_args.use_wide",
    "inputs.groups.mmoe": "inputs",
    "inputs.defs[0].vocab_list": "inputs.defs[0].vocab_size",
    "inputs.defs[0].vocab_file": "inputs.defs[0].vocab_size",
}


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Every place in a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in pairs:
        here = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".lstrip(".")
        yield here
        if isinstance(each, dict | list):
            yield from paths(each, here)


def outcome(folder: Path, *documents: dict[str, Any]) -> Converted | list[Fault]:
    try:
        return convert(folder, *documents)
    except ConfigError as error:
        return error.faults


def check_refusal(folder: Path, path: str, value: Any, faults: list[Fault]) -> None:
    """Each fault says in which file it is and how to repair it; one is about this value."""
    files = {str(folder / name) for name in ("job.json", "model_input_config.json")}
    for fault in faults:
        assert fault.where in files, fault
        assert REMEDIES.search(fault.text), fault
    own = [f for f in faults if lies_in(f.path, path)]
    around = [f for f in faults if lies_in(path, f.path) and f.path.count(".") >= 1]
    assert own or around or [f for f in faults if f.path == ELSEWHERE.get(path)], faults
    if own and isinstance(value, int | str) and "not supported" not in own[0].text:
        words = (str(value), repr(value), json.dumps(value))
        assert any(word in fault.text for fault in own for word in words), faults


def check(folder: Path, path: str, documents: list[dict[str, Any]], accepted: set[str]) -> None:
    """Try each strange value at a path of the last document."""
    for name, value in STRANGE.items():
        if value is REMOVED and path in documents[-1]:
            continue
        found = outcome(folder, *documents[:-1], {**documents[-1], path: value})
        if name not in accepted:
            assert isinstance(found, list), f"{name} is accepted"
            check_refusal(folder, path, value, found)
            continue
        assert isinstance(found, Converted), found
        if path in IDLE and value not in (None, REMOVED):
            idle = found.report.partition("no effect here:\n")[2]
            assert f"  {path}: " in idle, name


def accepted(path: str) -> set[str]:
    if path in IDLE or path in UNREAD:
        return set(STRANGE)
    return TAKEN.get(path, {"null", "removed"})


PATHS = [p for p in paths(JOB) if "is_favor" not in p and "play_num1" not in p and "[2]" not in p]
SOME = [p for p in paths(INPUTS) if "[" not in p or "[0]" in p or "[11]" in p]


@pytest.mark.long
@pytest.mark.parametrize("path", PATHS)
def test_a_strange_value_in_the_job_is_converted_or_refused(tmp_path, path):
    check(tmp_path, path, [{}], accepted(path))


@pytest.mark.parametrize("path", SOME)
def test_a_strange_value_in_the_inputs_is_converted_or_refused(tmp_path, path):
    check(tmp_path, path, [{}, {}], accepted(path))


def test_the_tables_name_places_that_there_are():
    assert set(TAKEN) | IDLE | UNREAD <= {*PATHS, *SOME, *MORE}


MORE = [
    f"{owner}.{key}"
    for owner, keys in {
        "job_detail.model_args": "expert_act expert_dropout task_dropout share_gates",
        "job_detail.train_data_args": "shuffle shuffle_buffer_size",
        "job_detail.train_args": "grad_process mix_precision ckpt_path term_on_nan",
        "job_detail.train_args.optimizer.args": "lr beta_1 epsilon amsgrad weight_decay",
    }.items()
    for key in keys.split()
]


@pytest.mark.parametrize("path", MORE)
def test_strange_values_of_other_keys_of_a_job_are_converted_or_refused(tmp_path, path):
    if path.endswith(".lr"):  # another name of learning_rate, which the job has
        other = {f"{path[:-3]}.learning_rate": REMOVED, path: 0.1}
        return check(tmp_path, path, [other], {"null"})
    return check(tmp_path, path, [{path: None}], accepted(path))


@pytest.mark.parametrize("key", ["headers", "file_type"])
def test_strange_values_of_keys_that_all_files_share_are_refused_where_they_are(tmp_path, key):
    sets = [f"job_detail.{name}.{key}" for name in ("train_data_args", "val_data_args")]
    sets.append(f"job_detail.test_data_args.{key}")
    for name in ("negative", "list", "object", *(["text"] if key == "file_type" else [])):
        found = outcome(tmp_path, dict.fromkeys(sets, STRANGE[name]))
        check_refusal(tmp_path, sets[0], None, found)
        assert [fault.path for fault in found] == sets[:1]


# Of an input that is a category, a number, or text: the strange values that change the config.
ANY = {"null", "negative", "text", "list", "object"}
OF_INPUTS = {
    "default_value": {"int32": "negative", "float32": "negative", "str": "negative text"},
    "val_sep": dict.fromkeys(("int32", "float32", "str"), "text"),
    "embedding_name": {"int32": "text", "str": "text"},
}
NO_EFFECT = {
    "int32": "label_index shape mean std is_sparse",
    "str": "label_index shape mean std is_sparse",
    "float32": "label_index mean std is_sparse embedding_name embedding_combiner "
    "embedding_initializer hash_type num_oov_buckets",
}
OTHERS = (
    "default_value val_sep is_label is_sample_weight label_index exclude embedding_name shape "
    "embedding_combiner embedding_initializer vocab_list vocab_file hash_type num_oov_buckets "
    "bucket_boundaries zscore mean std one_hot weight_col is_sparse"
)


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["int32", "float32", "str"])
@pytest.mark.parametrize("key", OTHERS.split())
def test_strange_values_of_other_keys_of_an_input_are_converted_or_refused(tmp_path, key, dtype):
    changes = {"inputs.defs[0].dtype": dtype}
    if key.startswith("vocab") or dtype == "float32":
        changes["inputs.defs[0].vocab_size"] = None
    path, idle = f"inputs.defs[0].{key}", key in NO_EFFECT[dtype].split()
    taken = {"null"} | set(OF_INPUTS.get(key, {}).get(dtype, "").split())
    if key.startswith("vocab") and dtype == "str":
        taken = set()  # text needs one of them
    check(tmp_path, path, [{}, changes | {path: None}], ANY if idle else taken)
    if idle:
        found = outcome(tmp_path, {}, changes | {path: -1})
        assert f"  {path}: " in found.report.partition("no effect here:\n")[2]


EXTREME = ["\ud800", "\0", "", 10**20, 1e300, 0, {}, {"a": [None]}]
# Their places in EXTREME, of those that are accepted.
EXTREMES = {
    "job_detail.model_input_config_file": [],
    "job_detail.model_args.name": [2],
    "job_detail.model_args.num_experts": [],
    "job_detail.model_args.expert_layers[0]": [],
    "job_detail.model_args.task_structs[0][2]": [],
    "job_detail.train_args.batch_size": [],
    "job_detail.train_args.num_samples": [],
    "job_detail.train_args.metrics.is_click[0]": [],
    "job_detail.train_args.optimizer.args.learning_rate": [3, 4, 5],  # any number from 0 on
    "job_detail.train_data_args.data_file": [],
    "job_detail.train_data_args.field_delim": [],
}


@pytest.mark.parametrize("place", range(len(EXTREME)))
@pytest.mark.parametrize("path", EXTREMES)
def test_extreme_values_are_converted_or_refused(tmp_path, path, place):
    found = outcome(tmp_path, {path: EXTREME[place]})
    assert isinstance(found, Converted) == (place in EXTREMES[path])
    if isinstance(found, list):
        check_refusal(tmp_path, path, None, found)
