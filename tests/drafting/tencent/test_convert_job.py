"""The seed's job and inputs as a config, field by field, and the report."""

import pytest
from drafting.tencent.by_hand import by_hand
from drafting.tencent.documents import INPUTS, JOB, REMOVED, convert, refused
from google.protobuf import text_format
from written import notes

from tzmmoe.protos.pipeline_pb2 import Pipeline


def test_the_seeds_job_becomes_the_config_that_one_would_write_by_hand(tmp_path):
    """S0.4 to S0.10, S0.11 to S0.39, S0.55 to S0.82: with every default made explicit."""
    text = convert(tmp_path).text
    assert text_format.Parse(text, Pipeline()) == by_hand(tmp_path)


def test_the_seeds_config_loads_without_faults_and_without_settings_that_do_nothing(tmp_path):
    """S0.4."""
    found = convert(tmp_path)
    assert not found.config.faults
    assert not notes(found.config)


def test_every_field_of_the_model_is_written(tmp_path):
    """S0.3: what the example leaves out stands there with its default, marked as such.

    All but wide_use_bn, which is of LR alone, and num_members, which the document does not have.
    """
    found = convert(tmp_path)
    model = text_format.Parse(found.text, Pipeline()).model_config.mmoe_v2
    given = {field.name for field, _ in model.ListFields()}
    assert given == set(model.DESCRIPTOR.fields_by_name) - {"wide_use_bn", "num_members"}
    marked = [line for line in found.text.splitlines() if line.startswith("    ") and "#" in line]
    for line in marked:
        name = line.strip().partition(":")[0]
        if name in found.model.DESCRIPTOR.fields_by_name:
            origin = line.partition("#")[2].strip()
            said = name in JOB["job_detail"]["model_args"]
            assert origin.startswith(f"model_args.{name}" if said else "default"), line


def test_no_line_but_that_of_a_long_text_is_longer_than_the_others_may_be(tmp_path):
    names = [f"a_feature_with_a_long_name_{number}" for number in range(30)]
    defs = [{"name": n, "dtype": "int32", "vocab_size": 5, "embedding_dim": 4} for n in names]
    labels = [each for each in INPUTS["inputs"]["defs"] if each.get("is_label")]
    groups = {"wide": names, "mmoe": names, "labels": [each["name"] for each in labels]}
    inputs = {"inputs": {"defs": [*defs, *labels], "groups": groups}}
    found = convert(tmp_path, None, inputs)
    assert list(found.pipeline.model_config.feature_groups[0].feature_names) == names
    long = [line for line in found.text.splitlines() if len(line) > 100]
    assert all(str(tmp_path) in line for line in long)


@pytest.mark.parametrize(
    ("node", "device"),
    [
        ("only_gpu", "cuda"),
        ("only_cpu", "cpu"),
        ("pref_cpu", "cpu"),
        ("pref_gpu", "auto"),
        ("available", "auto"),
        (REMOVED, "auto"),
        (None, "auto"),
    ],
)
def test_the_kind_of_node_becomes_the_device(tmp_path, node, device):
    """S0.6."""
    assert convert(tmp_path, {"node_affin": node}).pipeline.runtime_config.device == device


def test_a_kind_of_node_that_there_is_not_is_refused(tmp_path):
    """S0.6."""
    (said,) = refused(tmp_path, {"node_affin": "only_gpus"})
    assert said.startswith("job.json: node_affin: is 'only_gpus'; give one of only_gpu, ")
    assert "did you mean 'only_gpu'" in said


@pytest.mark.parametrize("value", ["spread", "concent"])
def test_the_spread_of_pods_is_reported_as_without_effect(tmp_path, value):
    """S0.7."""
    report = convert(tmp_path, {"pod_affin": value}).report
    assert "pod_affin" in report.partition("no effect here")[2].partition("take note")[0]


@pytest.mark.parametrize("value", ["90s", "30m", "12h", "100d", "2w", "1.5h"])
def test_a_limit_of_time_is_taken_over(tmp_path, value):
    """S0.8."""
    assert convert(tmp_path, {"timeout": value}).pipeline.runtime_config.timeout == value


@pytest.mark.parametrize("value", ["100", "d", "100 days", "-1d", "5ms", 100])
def test_what_is_no_limit_of_time_is_refused(tmp_path, value):
    """S0.8."""
    (said,) = refused(tmp_path, {"timeout": value})
    assert said.startswith("job.json: timeout: is ")


def test_a_job_without_limit_of_time_has_none(tmp_path):
    """S0.8."""
    assert not convert(tmp_path, {"timeout": REMOVED}).pipeline.runtime_config.HasField("timeout")


def test_several_processes_become_one_and_the_report_says_so(tmp_path):
    """S0.5."""
    assert "num_workers -> one process" in convert(tmp_path).report
    said = convert(tmp_path, {"num_workers": 4}).plain
    assert "num_workers is 4: start the training with torchrun --nproc_per_node=4 -m" in said
    for value in (0, -1, 1.5, "2", True):
        (said,) = refused(tmp_path, {"num_workers": value})
        assert said.startswith("job.json: num_workers: is ")


def test_the_report_tells_what_became_what(tmp_path):
    """S0.4, S0.9: every key of the seed's job is named in it, or one of its parts is."""
    report = convert(tmp_path).plain

    def visit(value, path):
        for key, each in value.items():
            here = f"{path}.{key}" if path else key
            if isinstance(each, dict) and key not in ("optimizer", "args"):
                visit(each, here)
            else:
                assert here in report or (path in report and f"{key} " in report), here

    visit(JOB, "")


FOREIGN = {
    "skip": True,
    "job_detail.script_name": "launcher.py",
    "job_detail.load_model_from": "saved_model",
    "job_detail.predict_args": {"batch_size": 5},
    "job_detail.model_args.named_outputs": True,
    "job_detail.train_data_args.tfrecord_config_file": "x.json",
    "job_detail.train_args.save_path": "saved",
    "job_detail.train_args.nni_search": True,
    "job_detail.train_args.early_stopping.baseline": 0.5,
    "job_detail.eval_args.models": [{"path": "saved"}],
}


def test_keys_without_counterpart_are_all_refused_by_name(tmp_path):
    """S0.9, S0.75."""
    inputs = {"inputs.defs[0].weight_col": "w", "feature_columns": {"defs": []}}
    inputs["inputs.defs[1].embedding_l2_reg"] = 0.1
    said = refused(tmp_path, FOREIGN, inputs)
    assert len(said) == len(FOREIGN) + len(inputs)
    for path in FOREIGN:
        assert any(line.startswith(f"job.json: {path}: is not supported") for line in said), path
    for path in inputs:
        start = f"model_input_config.json: {path}: is not supported"
        assert any(line.startswith(start) for line in said), path


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_a_key_that_is_not_supported_may_be_off(tmp_path, value):
    inputs = {f"inputs.defs[0].{key}": value for key in ("one_hot", "weight_col", "max_len")}
    assert convert(tmp_path, dict.fromkeys(FOREIGN, value), inputs).model.num_experts == 4


def test_unknown_keys_are_all_told_with_their_paths_and_the_nearest_names(tmp_path):
    """S0.4: a misspelt key changes what is trained, so it is never passed over."""
    job = {
        "num_worker": 1,
        "job_detail.model_arg": {},
        "job_detail.model_args.task_struct": [[1]],
        "job_detail.model_args.expert_activation": "relu",
        "job_detail.train_args.batchsize": 5,
        "job_detail.train_args.optimizer.arg": {},
        "job_detail.train_args.optimizer.args.beta1": 0.9,
        "job_detail.train_args.early_stopping.patient": 2,
        "job_detail.train_args.train_speed_logger.every_batch": 2,
        "job_detail.train_args.tensorboard.profile_batches": 2,
        "job_detail.val_data_args.data_files": "x",
        "job_detail.eval_args.output_files": "x",
    }
    near = ["num_workers", "model_args", "task_structs", "", "batch_size", "args", "beta_1"]
    near += ["patience", "every_batches", "profile_batch", "data_file", "output_file"]
    inputs = {"versions": 2, "inputs.def": [], "inputs.defs[3].dtpye": "int"}
    said = refused(tmp_path, job, inputs)
    for path, name in zip(job, near, strict=True):
        line = next(each for each in said if each.startswith(f"job.json: {path}: no such key"))
        assert not name or line.endswith(f"did you mean {name!r}?"), line
    for path, name in zip(inputs, ("version", "defs", "dtype"), strict=True):
        start = f"model_input_config.json: {path}: no such key; did you mean {name!r}?"
        assert start in said
    assert len(said) == len(job) + len(inputs)


def test_what_a_job_must_say_is_told_when_it_lacks(tmp_path):
    """S0.11, S0.19, S0.20: required."""
    job = {
        "job_detail.model_args.task_structs": REMOVED,
        "job_detail.model_args.num_experts": None,
        "job_detail.model_args.expert_layers": REMOVED,
        "job_detail.train_data_args.data_file": REMOVED,
        "job_detail.train_args.losses": REMOVED,
    }
    said = refused(tmp_path, job)
    assert {line.split(": ")[1] for line in said} == set(job)
    assert all(": is not set; " in line for line in said)
    said = refused(tmp_path, {"job_detail": REMOVED})
    assert all(line.startswith("job.json: job_detail") for line in said)
