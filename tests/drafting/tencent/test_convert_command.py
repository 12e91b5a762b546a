"""The command that converts a job: its files, flags, report and faults."""

import re
import subprocess
import sys

import pytest
from drafting.tencent.by_hand import by_hand
from drafting.tencent.documents import FIXTURES, REMOVED, refused
from google.protobuf import text_format
from written import ROOT, load

from tzmmoe.convert import main
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.system import cli


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
    for source in ("tencent", "easyrec"):
        with pytest.raises(SystemExit):
            main([source, "--help"])
    flags = set(re.findall(r"--\w+", capsys.readouterr().out)) - {"--help", "--version"}
    assert set(re.findall(r"`(--\w+)", page)) == flags
