"""The command ``tzmmoe``, and what a command line says before it works."""

import importlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from messages import says
from written import ROOT

import tzmmoe
from tzmmoe import __main__ as command
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.system import cli


def python(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env=environment
    )


def said(*words: str) -> tuple[int, str]:
    """Exit code and stderr of the command."""
    done = python("-m", "tzmmoe", *words)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_is_a_word_of_tzmmoe_and_has_the_same_help(name: str) -> None:
    both, alone = python("-m", "tzmmoe", name, "--help"), python("-m", f"tzmmoe.{name}", "--help")
    assert both.returncode == alone.returncode == 0
    assert both.stdout.startswith(f"usage: python -m tzmmoe {name} ")
    assert alone.stdout.startswith(f"usage: python -m tzmmoe.{name} ")
    assert both.stdout.count("--") == alone.stdout.count("--") > 2


def test_there_is_no_command_line_that_is_not_a_word_of_tzmmoe() -> None:
    """A module that ends as a script is one."""
    scripts = [
        path.relative_to(ROOT / "tzmmoe")
        for path in (ROOT / "tzmmoe").rglob("*.py")
        if 'if __name__ == "__main__"' in path.read_text()
    ]
    names = {path.stem if len(path.parts) == 1 else path.parts[0] for path in scripts}
    assert names - {"__main__"} == set(command.COMMANDS)


@pytest.mark.parametrize("words", [[], ["train"], ["predict"], ["init"], ["convert"]])
def test_version_is_that_of_the_package(words: list[str]) -> None:
    done = python("-m", "tzmmoe", *words, "--version")
    assert (done.returncode, done.stdout) == (0, f"tzmmoe {tzmmoe.__version__}\n")
    if words:
        assert python("-m", f"tzmmoe.{words[0]}", "--version").stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["name a command", "train, eval, export, predict, init, convert"]),
        (["--pipeline_config", "x"], ["unknown flag --pipeline_config"]),
        (["tran"], ["'tran'", "'train'"]),
        (["Evaluate"], ["'eval'"]),
        (["fit"], ["'train'"]),
        (["score"], ["'predict'"]),
        (["draft"], ["'init'"]),
        (["xyz"], ["'xyz'", "available: train, eval"]),
        (["train", "--model_dri", "x"], ["python -m tzmmoe train: ", "'--model_dir'"]),
        (["convert", "tencen"], ["python -m tzmmoe convert: ", "'tencent'"]),
        (["convert", "tencent"], ["python -m tzmmoe convert tencent: ", "--job"]),
        (["init"], ["python -m tzmmoe init: ", "--data"]),
    ],
)
def test_what_is_not_a_command_ends_with_2_and_suggests_one(words, parts) -> None:
    code, text = said(*words)
    assert code == 2
    says(text, *parts)


# What users of other tools write, or misspell, and what the message must suggest.
FLAGS = {
    "train --resume": "'--continue_train'",
    "train --resume=run/model.ckpt-9": "'--continue_train'",
    "train --resume-from-checkpoint": "'--continue_train'",
    "train --continue": "'--continue_train'",
    "train --continue-train": "'--continue_train'",
    "train --continue_trian": "'--continue_train'",
    "train --config": "'--pipeline_config'",
    "train --pipeline-config": "'--pipeline_config'",
    "train --output_dir": "'--model_dir'",
    "train --train_data": "'--train_input_path'",
    "train --Train_Data": "'--train_input_path'",
    "train --dry-run": "'--check'",
    "train --epochs": "--set train_config.num_epochs=VALUE",
    "train --batch-size": "--set data_config.batch_size=VALUE",
    "train --force": "'--accept_changes'",
    "eval --resume": "'--checkpoint_path'",
    "eval --ckpt": "'--checkpoint_path'",
    "export --output_dir": "'--export_dir'",
    "predict --output_dir": "'--predict_output_path'",
    "predict --model": "'--saved_model_dir'",
    "predict --batchsize": "'--batch_size'",
    "init --target": "'--labels'",
    "init --pipeline_config": "'--out'",
    "init --sep": "'--delimiter'",
    "init --eval_input_path": "'--eval_data'",
}


@pytest.mark.parametrize("line", FLAGS)
def test_a_flag_of_another_tool_or_a_misspelt_one_suggests_ours(line: str, capsys) -> None:
    name, flag = line.split()
    with pytest.raises(SystemExit):
        importlib.import_module(f"tzmmoe.{name}").main([flag])
    says(capsys.readouterr().err, f"unknown flag {flag.partition('=')[0]}", FLAGS[line])


@pytest.mark.parametrize("flag", ["--qqqq", "--xy", "--set_", "-z"])
def test_a_flag_that_is_like_none_suggests_nothing_far(flag: str, capsys) -> None:
    """Every flag begins with dashes, so sharing those does not make two flags similar."""
    with pytest.raises(SystemExit):
        importlib.import_module("tzmmoe.train").main([flag])
    suggested = re.findall("'(.*)'", capsys.readouterr().err)
    assert suggested == (["--set"] if flag == "--set_" else [])


def test_flags_of_other_tools_stand_for_flags_and_fields_that_exist() -> None:
    assert set(cli.OTHER_FLAGS) <= {flag for name in command.COMMANDS for flag in flags_of(name)}
    for own, words in cli.OTHER_FLAGS.items():
        assert own not in words.split()
    pipeline = Pipeline()
    for field in cli.FIELDS_OF_FLAGS:
        message, name = field.split(".")
        assert name in getattr(pipeline, message).DESCRIPTOR.fields_by_name


def flags_of(name: str) -> list[str]:
    """As its help has them."""
    lines = python("-m", "tzmmoe", name, "--help").stdout
    if name == "convert":
        lines += python("-m", "tzmmoe", name, "tencent", "--help").stdout
    return re.findall(r"--(\w+)", lines)


def test_every_other_word_stands_for_a_command_and_is_none() -> None:
    assert set(command.OTHER_WORDS.values()) <= set(command.COMMANDS)
    assert not set(command.OTHER_WORDS) & set(command.COMMANDS)


def test_the_installed_command_calls_itself_by_its_name(tmp_path: Path) -> None:
    """As an entry point calls it, from a script that lies elsewhere."""
    script = tmp_path / "tzmmoe"
    script.write_text("import sys\nfrom tzmmoe.__main__ import run\nsys.exit(run())\n")
    for words, name in ((["train"], "tzmmoe train: "), (["tran"], "tzmmoe: ")):
        done = python(str(script), *words)
        assert (done.returncode, done.stderr.startswith(name)) == (2, True), done.stderr


def test_the_installed_command_finds_an_allowed_module_where_it_is_started(tmp_path: Path) -> None:
    """As ``python -m`` does; and without the flag it does not look there."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/tzmmoe"
    script.write_text("import sys\nfrom tzmmoe.__main__ import run\nsys.exit(run())\n")
    (tmp_path / "mine.py").write_text("raise ValueError('was imported')")
    (tmp_path / "my.config").write_text(
        'model_config { custom_model { class: "mine.X" task_towers { tower_name: "a" } } }'
    )
    for more, part in ((["--allow_modules", "mine"], "was imported"), ([], "not allowed")):
        words = ["train", "--pipeline_config", "my.config", *more]
        done = python(str(script), *words, folder=tmp_path)
        assert done.returncode == 2
        says(done.stderr, part)


@pytest.fixture
def levels() -> Iterator[None]:
    """The levels of loggers are put back afterwards."""
    loggers = [logging.getLogger(name) for name in (None, *cli.OWN_LOGGERS, *cli.QUIET_LOGGERS)]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.usefixtures("levels")
def test_lines_of_other_packages_are_not_shown_unless_they_warn(monkeypatch) -> None:
    """As that of matplotlib, which a first import of torchmetrics makes build its font cache."""
    shown = {}

    def main(argv: list[str]) -> None:
        for name in ("tzmmoe.run", "__main__", "matplotlib.font_manager", "torch.distributed"):
            logger = logging.getLogger(name)
            levels = (logging.INFO, logging.WARNING, logging.ERROR)
            shown[name] = [level for level in levels if logger.isEnabledFor(level)]

    monkeypatch.setattr(sys, "argv", ["tzmmoe"])
    logging.getLogger().handlers.clear()
    cli.run(main)
    assert [len(levels) for levels in shown.values()] == [3, 3, 1, 2]
