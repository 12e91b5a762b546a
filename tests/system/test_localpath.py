"""Paths with ``~`` and schemes, wherever something is written."""

import importlib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from e2e import tiny
from messages import fails
from written import ROOT

from tzmmoe.errors import ConfigError
from tzmmoe.pipeline import Pipeline
from tzmmoe.run.changes.moved import PathMap
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import cli
from tzmmoe.system.localpath import local

OUTPUTS = ["model_dir", "eval_config.output_file", "eval_config.predictions_path"]
INPUTS = ["train_config.fine_tune_checkpoint", "train_config.fine_tune_ckpt_param_map"]


def test_paths_without_a_scheme_stay_and_home_is_expanded(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    for path in ("a/b", "/a/b", "a~b", "./~", "C:/x", "a:b//c", "s3:/x"):
        assert local(path, "--x") == path
    assert local("~/a", "--x") == "/home/ann/a"
    assert local(Path("~/a"), "--x") == "/home/ann/a"


def test_file_urls_are_the_paths_that_they_name() -> None:
    assert local("file:///a/b%20c", "--x") == "/a/b c"
    assert local("FILE://localhost/a", "--x") == "/a"
    with fails(ConfigError, "--x", "file://elsewhere/a", "elsewhere", "file:///"):
        local("file://elsewhere/a", "--x")


@pytest.mark.parametrize("scheme", ["s3", "hdfs", "gs", "http", "abfs+ssl", "oss"])
@pytest.mark.parametrize("field", [*OUTPUTS, *INPUTS])
def test_another_scheme_is_refused_when_the_config_is_loaded(
    tiny_folder, tmp_path, monkeypatch, scheme, field
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [f"model_dir={tmp_path}/m", f"{field}={scheme}://bucket/x.parquet"]
    with fails(ConfigError, field, f"{scheme}://"):
        Pipeline.load(tiny_folder / "tiny.config", settings=settings)
    assert not os.listdir(tmp_path)


def test_a_vocabulary_of_another_scheme_is_refused(tiny_folder, tmp_path) -> None:
    edits = [
        "feature_configs[0].id_feature.vocab_file=s3://bucket/words",
        "feature_configs[0].id_feature.default_bucketize_value=0",
        "feature_configs[0].id_feature.hash_bucket_size=",
    ]
    with fails(ConfigError, "vocab_file", "s3://"):
        Pipeline.load(tiny_folder / "tiny.config", settings=[*edits, f"model_dir={tmp_path}/m"])


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory) -> tuple[Pipeline, Path]:
    """A model whose model_dir is named from home."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        pipeline = tiny.pipeline(tiny_folder, "~/m", train_config__num_steps=2)
        pipeline.fit()
    assert [path.name for path in home.iterdir()] == ["m"]
    return pipeline, tiny_folder


@pytest.mark.parametrize("prefix", ["~", "file://{home}"])
def test_outputs_of_python_go_where_the_path_says(trained, tmp_path, monkeypatch, prefix) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pipeline, data = trained
    base = prefix.format(home=tmp_path)
    pipeline.export(f"{base}/e")
    pipeline.predict(str(data / "train"), f"{base}/p.parquet")
    pipeline.evaluate(predictions_path=f"{base}/v.parquet")
    Scorer.load(f"{base}/e")
    assert sorted(os.listdir(tmp_path)) == ["e", "p.parquet", "v.parquet"]


def test_other_schemes_are_refused_before_any_work(trained, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline, data = trained
    for call in (
        lambda: pipeline.export("s3://bucket/e"),
        lambda: pipeline.predict(str(data / "train"), "hdfs://x/p.parquet"),
        lambda: pipeline.evaluate(predictions_path="gs://x/p.parquet"),
        lambda: pipeline.evaluate(checkpoint_path="s3://x/m"),
        lambda: Scorer.load("s3://x/e"),
    ):
        with fails(ConfigError, "://", "not supported"):
            call()
    assert not os.listdir(tmp_path)


# Commands with every flag of a path, one after the other; HOME holds tiny/ and the two JSON files.
FROM_HOME = [
    ("train", "pipeline_config=tiny/tiny.config train_input_path=tiny/train eval_input_path= "
     "model_dir=out/m"),
    ("train", "pipeline_config=tiny/tiny.config train_input_path=tiny/train/*.parquet "
     "eval_input_path=tiny/eval.parquet test_input_path=tiny/eval.parquet model_dir=out/n "
     "predictions_path=out/n.parquet fine_tune_checkpoint=out/m"),
    ("eval", "pipeline_config=tiny/tiny.config model_dir=out/m checkpoint_path=out/n "
     "eval_input_path=tiny/eval.parquet predictions_path=out/v.parquet"),
    ("export", "pipeline_config=out/m/pipeline.config checkpoint_path=out/m export_dir=out/e"),
    ("predict", "saved_model_dir=out/e predict_input_path=tiny/eval.parquet "
     "predict_output_path=out/p.parquet"),
    ("predict", "pipeline_config=out/m/pipeline.config checkpoint_path=out/n "
     "predict_input_path=tiny/eval.parquet predict_output_path=out/q"),
    ("init", "data=tiny/train eval_data=tiny/eval.parquet out=out/i.config model_dir=out/i"),
    ("convert", "job=job.json inputs=model_input_config.json out=out/c.config"),
    ("synthetic.__main__", "out=out/s"),
]  # fmt: skip
FURTHER = {
    "init": ["--labels=click,buy"],
    "synthetic.__main__": ["--rows=20", "--eval_rows=10"],
    "convert": ["tencent"],
}
OF_PATHS = re.compile("path|dir$|config$|^(data|eval_data|out|job|inputs|fine_tune_checkpoint)$")


def test_every_flag_of_a_path_takes_home(tiny_folder, tmp_path, monkeypatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(tiny_folder, home / "tiny")
    for name in ("job.json", "model_input_config.json"):
        shutil.copy(ROOT / "tests/drafting/tencent/fixtures" / name, home / name)
    (home / "out").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    known: set[str] = set()  # of all commands; those of cli.parser need to be tried in one of them
    tried: set[str] = set()
    original = cli.Parser.parse_args

    def parse_args(parser, argv=None):
        known.update(a.dest for a in parser._actions if OF_PATHS.search(a.dest))
        return original(parser, argv)

    monkeypatch.setattr(cli.Parser, "parse_args", parse_args)
    for command, paths in FROM_HOME:
        pairs = [pair.split("=") for pair in paths.split()]
        tried.update(name for name, path in pairs if path)
        words = [f"--{name}=~/{path}" if path else f"--{name}=" for name, path in pairs]
        monkeypatch.setattr(sys, "argv", [command])
        importlib.import_module(f"tzmmoe.{command}").main([*FURTHER.get(command, ()), *words])
    assert os.listdir(elsewhere) == []
    made = ["c.config", "e", "i.config", "m", "n", "n.parquet", "p.parquet", "q", "s", "v.parquet"]
    assert sorted(os.listdir(home / "out")) == made
    assert known - {"map_path"} <= tried  # which holds two paths, and has a test of its own


def test_both_paths_of_a_move_take_home(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    moved = PathMap.of("~/old=~/new")
    assert moved.path("/somewhere/old/a.csv") == "/somewhere/new/a.csv"


def test_paths_in_a_job_take_home(tmp_path, monkeypatch) -> None:
    home, fixtures = tmp_path / "home", ROOT / "tests/drafting/tencent/fixtures"
    home.mkdir()
    shutil.copy(fixtures / "model_input_config.json", home / "inputs.json")
    job = (fixtures / "job.json").read_text()
    own = job.replace("`${PACK_PATH}$`/model_input_config.json", "~/inputs.json")
    assert own != job
    (tmp_path / "job.json").write_text(own)
    monkeypatch.setenv("HOME", str(home))
    importlib.import_module("tzmmoe.convert").main(
        ["tencent", f"--job={tmp_path}/job.json", f"--out={tmp_path}/c.config"]
    )
    assert (tmp_path / "c.config").exists()


def test_a_path_with_a_nul_character_is_refused_at_its_field() -> None:
    with fails(ConfigError, "model_dir", "'a\\x00b'", "NUL"):
        local("a\0b", "model_dir")
