"""A file of another kind is refused in one line, with the command that takes it."""

import shlex
from pathlib import Path

import pytest
from drafting.easyrec.pipelines import BUILT_IN, FORMS
from drafting.tencent.documents import FIXTURES
from messages import says
from written import CONFIG, ROOT, SHIPPED, load

from tzmmoe import convert
from tzmmoe.config.recognition import kind_of, outline_of
from tzmmoe.errors import ConfigError

JOB, INPUTS = FIXTURES / "job.json", FIXTURES / "model_input_config.json"
OURS = [*SHIPPED, *sorted((ROOT / "tests/config/fixtures").glob("*.config"))]


def refused(command: str, path: Path, folder: Path, *more: str) -> str:
    """What the converter says of a file, which must be one line."""
    flag = {"easyrec": "--config", "tencent": "--job"}[command]
    out = folder / "out.config"
    with pytest.raises(ConfigError) as raised:
        convert.main([command, flag, str(path), "--out", str(out), *more])
    assert not out.exists()
    [line] = str(raised.value).splitlines()
    return line


@pytest.mark.parametrize("command", ["easyrec", "tencent"])
@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_config_of_ours_needs_no_conversion(tmp_path: Path, command: str, path: Path) -> None:
    train = f"python -m tzmmoe.train --pipeline_config {path}"
    says(refused(command, path, tmp_path), str(path), "already a config", train)


def test_a_config_of_ours_in_json_needs_no_conversion_either(tmp_path: Path) -> None:
    path = tmp_path / "ours.json"
    path.write_text('{"trainConfig": {"denseOptimizer": {}}, "dataConfig": {"fgMode": "FG_DAG"}}')
    says(refused("easyrec", path, tmp_path), "already a config", "tzmmoe.train")


def test_the_name_of_a_file_is_quoted_for_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "my config.config"
    path.write_text(CONFIG)
    says(refused("easyrec", path, tmp_path), shlex.quote(str(path)))


@pytest.mark.parametrize("path", [JOB, INPUTS])
def test_json_of_a_job_is_recognized_by_other_commands(tmp_path: Path, path: Path) -> None:
    says(refused("easyrec", path, tmp_path), str(path), "tzmmoe.convert tencent")
    with pytest.raises(ConfigError) as raised:
        load(path)
    [line] = str(raised.value).splitlines()
    says(line, str(path), "tzmmoe.convert tencent")


def test_the_job_and_its_inputs_may_not_be_exchanged(tmp_path: Path) -> None:
    says(refused("tencent", INPUTS, tmp_path), "--job", f"--inputs {INPUTS}")
    says(refused("tencent", JOB, tmp_path, "--inputs", str(JOB)), "--inputs", f"--job {JOB}")


def test_a_pipeline_of_easyrec_is_no_job(tmp_path: Path) -> None:
    path = tmp_path / "theirs.config"
    path.write_text(BUILT_IN)
    says(refused("tencent", path, tmp_path), str(path), "tzmmoe.convert easyrec")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_pipeline_is_recognized(form: str) -> None:
    assert kind_of(outline_of(FORMS[form])) == "pipeline"


def test_text_that_only_quotes_a_config_is_not_recognized_as_one(tmp_path: Path) -> None:
    says(refused("easyrec", ROOT / "README.md", tmp_path), "README.md", "not a pipeline of EasyRec")
    assert kind_of(outline_of((ROOT / "README.md").read_text())) == ""


def test_a_pipeline_in_json_is_refused_with_the_form_to_give(tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text('{"modelDir": "x"}')
    says(refused("easyrec", path, tmp_path), str(path), "is JSON", "text form")
