"""The seed's job and inputs as a config, field by field, and the command line."""

import re
import subprocess
import sys

import pytest
from drafting.tencent.documents import FIXTURES, INPUTS, JOB, REMOVED, convert, refused
from google.protobuf import text_format
from written import ROOT, load, notes

from tzmmoe.convert import main
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.system import cli

BY_HAND = """
train_input_path: "{folder}/dataset/train_data.csv"
eval_input_path: "{folder}/dataset/vali_data.csv"
test_input_path: "{folder}/dataset/test_data.csv"
model_dir: "experiments/mmoe_model_v2"
train_config {{
  optimizer {{
    adam_optimizer {{ lr: 0.001 beta1: 0.9 beta2: 0.999 eps: 1e-7 }}
    constant_learning_rate {{}}
  }}
  num_epochs: 3
  save_checkpoints_epochs: 1
  num_samples: 2938797
  num_val_samples: 1567359
  mixed_precision: ""
  grad_process: ""
  use_tensorboard: true
  tensorboard {{ profile_batch: [200, 300] }}
  train_speed_logger {{ every_batches: 1000 with_metrics: true }}
  early_stopping {{
    monitor: "val_loss" mode: "min" patience: 3 min_delta: 0.001 restore_best_weights: true
  }}
}}
eval_config {{
  batch_size: 256
  output_file: "{folder}/mmoev2-fm-2-res.json"
  task_metrics {{ name: "is_click" {metrics} }}
  task_metrics {{ name: "play_num1" {metrics} }}
  task_metrics {{ name: "is_favor" {metrics} }}
}}
data_config {{
  batch_size: 256
  eval_batch_size: 256
  label_fields: ["is_click", "play_num1", "is_favor"]
  fg_mode: FG_DAG
  dataset_type: CsvDataset
  delimiter: ","
  with_header: true
  shuffle: false
  drop_remainder: false
}}
{features}
model_config {{
  feature_groups {{
    group_name: "wide"
    feature_names: ["age", "age_level", "sex", "degree", "city_level", "os_type", "genre_0"]
    group_type: DEEP
  }}
  feature_groups {{
    group_name: "mmoe"
    feature_names: ["age", "age_level", "sex", "bd_play_cnt", "bd_play_time", "wifi_play_cnt"]
    group_type: DEEP
  }}
  mmoe_v2 {{
    name: "mmoe_model_v2"
    {towers}
    task_structs {{ units: [64, 16, 1] }}
    task_structs {{ units: [64, 16, 1] }}
    task_structs {{ units: [64, 16, 1] }}
    task_use_bias: true
    task_hidden_act: "relu"
    task_output_act: "sigmoid"
    task_use_bn: false
    task_dropout: 0
    task_l1_reg: 0
    task_l2_reg: 0.001
    num_experts: 4
    expert_layers: [128, 64]
    expert_use_bias: true
    expert_act: "relu"
    expert_dropout: 0
    expert_use_bn: false
    expert_l1_reg: 0
    expert_l2_reg: 0.001
    gate_use_bias: true
    gate_l1_reg: 0
    gate_l2_reg: 0
    share_gates: false
    use_wide: true
    wide_type: "FM"
    wide_width: 8
    feature_cross: 2
    output_cross: 0
    wide_l1_reg: 0
    wide_l2_reg: 0.001
    wide_group: "wide"
    mmoe_group: "mmoe"
    wide_per_task: false
    wide_output_is_prob: false
    wide_feature: "auto"
    dedup_cross_features: true
  }}
}}
runtime_config {{ device: "cuda" timeout: "100d" }}
"""
METRICS = "metrics { auc { thresholds: 200 } } metrics { binary_accuracy { threshold: 0.5 } }"
TOWER = """
task_towers {{
  tower_name: "{name}" label_name: "{name}" num_class: 1 weight: 1 {metrics}
  losses {{ binary_cross_entropy {{ label_smoothing: 0 }} }}
}}
"""
FEATURE = """
feature_configs {{
  id_feature {{
    feature_name: "{name}" num_buckets: {rows} embedding_dim: {dim} pooling: "mean"
    default_value: "0" out_of_range: MODULO init_fn: "nn.init.uniform_,a=-0.05,b=0.05"
  }}
}}
"""
ROWS = {"age": 33, "age_level": 10, "sex": 4, "degree": 9, "city_level": 9, "os_type": 10}
ROWS |= {"genre_0": 61, "bd_play_cnt": 59, "bd_play_time": 59, "wifi_play_cnt": 51}
NARROW = ("bd_play_cnt", "bd_play_time", "wifi_play_cnt")


def by_hand(folder) -> Pipeline:
    """The config that a reader of the seed would write for it."""
    towers = [TOWER.format(name=n, metrics=METRICS) for n in ("is_click", "play_num1", "is_favor")]
    features = [
        FEATURE.format(name=name, rows=rows, dim=8 if name in NARROW else 80)
        for name, rows in ROWS.items()
    ]
    text = BY_HAND.format(
        folder=folder, metrics=METRICS, towers="".join(towers), features="".join(features)
    )
    return text_format.Parse(text, Pipeline())


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

    All but wide_use_bn, which is of LR alone.
    """
    found = convert(tmp_path)
    model = text_format.Parse(found.text, Pipeline()).model_config.mmoe_v2
    given = {field.name for field, _ in model.ListFields()}
    assert given == set(model.DESCRIPTOR.fields_by_name) - {"wide_use_bn"}
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


def command(folder, *flags: str) -> list[str]:
    return [
        "tencent",
        "--job",
        str(FIXTURES / "job.json"),
        "--out",
        str(folder / "m.config"),
        *flags,
    ]


def test_the_command_writes_the_config_and_prints_the_report_and_the_next_command(tmp_path, capsys):
    """S0.4: both files; what is printed ends in what to do."""
    main(command(tmp_path))
    printed = capsys.readouterr().out
    out = tmp_path / "m.config"
    assert text_format.Parse(out.read_text(), Pipeline()) == by_hand(FIXTURES)
    assert not load(out).faults
    train = f"python -m tzmmoe.train --pipeline_config {out}"
    assert f"wrote {out}" in printed
    assert printed.endswith(f"\n  {train} --check\n  {train}\n")
    assert f"#     python -m tzmmoe.train --pipeline_config {out}" in out.read_text()


def test_another_file_of_inputs_goes_before_the_jobs(tmp_path, capsys):
    """S0.4."""
    other = tmp_path / "other.json"
    other.write_text((FIXTURES / "model_input_config.json").read_text().replace(":33", ":34"))
    main(command(tmp_path, "--inputs", str(other), "--labels", "play_num5,is_favor,is_click"))
    pipeline = load(tmp_path / "m.config").pipeline
    assert pipeline.feature_configs[0].id_feature.num_buckets == 34
    assert list(pipeline.data_config.label_fields) == ["play_num5", "is_favor", "is_click"]


def test_a_variable_that_no_text_names_is_reported(tmp_path, capsys):
    main(command(tmp_path, "--var", "EXPORT_PATH=results", "--var", "PACK_PAHT=x"))
    printed = capsys.readouterr().out
    assert "EXPORT_PATH = results (--var)" in printed
    assert "--var PACK_PAHT: no placeholder has this name" in printed
    output = load(tmp_path / "m.config").pipeline.eval_config.output_file
    assert output == "results/mmoev2-fm-2-res.json"


def ended(monkeypatch, capsys, *flags: str) -> str:
    """What a command says that ends with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["convert", *flags])
    with pytest.raises(SystemExit) as exit:
        cli.run(main)
    assert exit.value.code == cli.USER_ERROR
    return capsys.readouterr().err


def test_a_config_that_is_there_is_replaced_only_by_force(tmp_path, monkeypatch, capsys):
    out = tmp_path / "m.config"
    out.write_text("mine")
    assert "pass --force" in ended(monkeypatch, capsys, *command(tmp_path))
    assert out.read_text() == "mine"
    main(command(tmp_path, "--force"))
    assert not load(out).faults


def test_faults_end_the_command_with_code_2_and_write_nothing(tmp_path, monkeypatch, capsys):
    bad = tmp_path / "bad.json"
    bad.write_text('{"num_workers": 1,\n "job_detail": }')
    flags = ["tencent", "--job", str(bad), "--out", str(tmp_path / "m.config")]
    assert ended(monkeypatch, capsys, *flags).startswith(f"{bad}:2: column 16: is not JSON")
    bad.write_text('{"num_workers": 0}')
    assert f"{bad}: num_workers: is 0; give 1 or more" in ended(monkeypatch, capsys, *flags)
    assert not (tmp_path / "m.config").exists()


def test_what_is_missing_in_the_command_is_told(tmp_path, monkeypatch, capsys):
    job, out = str(FIXTURES / "job.json"), str(tmp_path / "m.config")
    assert "name a command; available: tencent" in ended(monkeypatch, capsys)
    said = ended(monkeypatch, capsys, "tencnt", "--job", job)
    assert "'tencnt'; did you mean 'tencent'?; available: tencent" in said
    assert "--job and --out must be given" in ended(monkeypatch, capsys, "tencent")
    assert "did you mean '--labels'" in ended(monkeypatch, capsys, *command(tmp_path, "--label=a"))
    said = ended(monkeypatch, capsys, "tencent", "--job", job, "--out", f"{tmp_path}/deep/m.config")
    assert "--out" in said
    assert f"{tmp_path}/deep does not exist; create it" in said
    said = ended(monkeypatch, capsys, "tencent", "--job", f"{job}n", "--out", out)
    assert said.startswith("--job: cannot read")
    said = ended(monkeypatch, capsys, *command(tmp_path, "--inputs", "nothing.json"))
    assert said.startswith("--inputs: cannot read nothing.json")


def test_a_file_of_inputs_that_is_not_there_is_told_with_the_jobs_other_faults(tmp_path):
    """S0.4."""
    job = {"job_detail.model_input_config_file": "other.json", "node_affin": "moon"}
    said = "\n".join(refused(tmp_path, job))
    assert "job_detail.model_input_config_file: cannot read other.json" in said
    assert "node_affin: is 'moon'" in said
    (said,) = refused(tmp_path, {"job_detail.model_input_config_file": REMOVED})
    assert said.startswith("job.json: job_detail.model_input_config_file: is not set; ")
    assert "--inputs" in said


@pytest.mark.parametrize("flags", [["--help"], ["-h"], ["tencent", "--help"]])
def test_help_is_quick_to_come_and_ends_well(flags):
    command = [sys.executable, "-m", "tzmmoe.convert", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--job" in done.stdout


def test_the_page_on_conversion_lists_the_flags_that_there_are(capsys):
    page = (ROOT / "docs/convert.md").read_text()
    with pytest.raises(SystemExit):
        main(["tencent", "--help"])
    flags = set(re.findall(r"--\w+", capsys.readouterr().out)) - {"--help", "--version"}
    assert set(re.findall(r"`(--\w+)", page)) == flags
