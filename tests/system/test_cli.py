"""The command lines: flags, help, exit codes, and their messages when they cannot proceed."""

import importlib
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import forked
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from messages import says
from written import CONFIG, ROOT, changed

from tzmmoe.errors import NO_SCHEMA, DataError, Interrupted
from tzmmoe.system import cli

COMMANDS = ["train", "eval", "export", "predict"]
WITH_CONFIG = {
    "train": [],
    "eval": [],
    "export": ["--export_dir", "out"],
    "predict": ["--predict_input_path", "x.parquet", "--predict_output_path", "y.parquet"],
}
HELP_S = 0.5


def python(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """As a user starts it, without what this process has imported."""
    command = [sys.executable, *arguments]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables)


def ended(capsys: pytest.CaptureFixture, command: str, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines on stderr of a command line, in this process."""
    main = importlib.import_module(f"tzmmoe.{command}").main
    code = 0
    original, sys.argv = sys.argv, [command, *map(str, arguments)]
    try:
        cli.run(main)
    except SystemExit as stopped:
        code = stopped.code
    finally:
        sys.argv = original
    return code, capsys.readouterr().err.splitlines()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config whose files are there, in the folder that the commands are started in."""
    monkeypatch.chdir(tmp_path)
    rows = {"user": ["a", "b"] * 8, "item": [1, 2] * 8, "price": [0.5, 3.0] * 8}
    labels = {"click": [0, 1] * 8, "buy": [0, 1] * 8, "importance": [1.0, 2.0] * 8}
    for name in ("train", "eval"):
        pq.write_table(pa.table({**rows, **labels}), tmp_path / f"{name}.parquet")
    (tmp_path / "my.config").write_text(CONFIG)
    return tmp_path / "my.config"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_at_once(command):
    """A second of imports before the flags would be a second for each look at them."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = python("-m", f"tzmmoe.{command}", "--help")
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0
        assert "--pipeline_config" in done.stdout
        assert not done.stderr
    assert statistics.median(seconds) < HELP_S


@pytest.mark.parametrize("module", ["tzmmoe", *(f"tzmmoe.{name}" for name in COMMANDS)])
def test_importing_it_imports_neither_torch_nor_the_schema(module):
    code = f"import sys, {module}; print('torch' in sys.modules, 'tzmmoe.protos' in sys.modules)"
    done = python("-c", code)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_the_version_of_the_package_is_at_hand_and_other_names_are_not():
    done = python("-c", "import tzmmoe; print(tzmmoe.__version__); tzmmoe.Pipelines")
    assert done.stdout.strip()
    assert "has no attribute 'Pipelines'" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_has_a_help_text(command, monkeypatch):
    seen = []
    monkeypatch.setattr(cli.Parser, "error", lambda parser, _: seen.append(parser) or sys.exit(2))
    with pytest.raises(SystemExit):
        importlib.import_module(f"tzmmoe.{command}").main(["--zzz"])
    assert [action.option_strings for action in seen[0]._actions if not action.help] == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("--model_dri", ("flag --model_dri; ", "'--model_dir'")),
        ("--model_dri=x", ("flag --model_dri; ", "'--model_dir'")),
        ("--pipeline", ("flag --pipeline; ",)),
        ("--zzz", ("flag --zzz; ",)),
    ],
)
def test_an_unknown_flag_ends_with_2_and_names_the_nearest(command, flag, parts, capsys):
    code, lines = ended(capsys, command, *WITH_CONFIG[command], "--pipeline_config", "x", flag)
    assert code == 2
    says(lines[-1], *parts, "--help")


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("train", "--train_input_path"),
        ("eval", "--eval_input_path"),
        ("export", "--checkpoint_path"),
        ("predict", "--predict_input_path"),
        ("init", "--data"),
        ("synthetic.__main__", "--out"),
    ],
)
@pytest.mark.parametrize("joint", [" ", "="])
def test_several_words_after_a_flag_are_an_unquoted_pattern(command, flag, joint, capsys):
    """As the shell makes them of ``data/*.csv`` and ``data/{a,b,c}.csv``."""
    words = f"{flag}{joint}data/a.csv data/b.csv data/c.csv".split()
    code, lines = ended(capsys, command, *words)
    assert code == 2
    says(lines[-1], flag, "3 follow", "data/a.csv, data/b.csv, data/c.csv", "quotes", "commas")


@pytest.mark.parametrize("words", [["my.config"], ["--continue_train", "my.config"]])
def test_a_word_that_belongs_to_no_flag_is_named(words, capsys):
    code, lines = ended(capsys, "train", *words, "--model_dir", "my.config")
    assert code == 2
    says(lines[-1], "'my.config' belongs to no flag")


@pytest.mark.parametrize(
    ("command", "arguments", "flags"),
    [
        ("train", [], ["--pipeline_config"]),
        ("eval", [], ["--pipeline_config"]),
        ("export", ["--pipeline_config", "x"], ["--export_dir", "required"]),
        ("export", ["--export_dir", "x"], ["--pipeline_config", "required"]),
        (
            "predict",
            ["--pipeline_config", "x"],
            ["--predict_input_path", "--predict_output_path", "required"],
        ),
        ("predict", WITH_CONFIG["predict"], ["--saved_model_dir, or --pipeline_config"]),
        (
            "predict",
            [*WITH_CONFIG["predict"], "--pipeline_config", "x", "--saved_model_dir", "y"],
            ["--saved_model_dir, or --pipeline_config"],
        ),
        ("train", ["--pipeline_config"], ["--pipeline_config", "expected one argument"]),
    ],
)
def test_a_missing_flag_ends_with_2_and_is_named(command, arguments, flags, capsys):
    code, lines = ended(capsys, command, *arguments)
    assert code == 2
    says(lines[-1], *flags)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("predict", ["--saved_model_dir", "nowhere", "--predict_output_path", "p.json"]),
        ("predict", ["--pipeline_config", "my.config", "--predict_output_path", "p.json"]),
        ("eval", ["--pipeline_config", "my.config", "--predictions_path", "p.json"]),
        ("train", ["--pipeline_config", "my.config", "--predictions_path", "p.json"]),
    ],
)
@pytest.mark.usefixtures("config")
def test_an_output_that_cannot_be_written_ends_before_any_work(command, arguments, capsys):
    """Before the export or checkpoint, which does not exist, is looked for."""
    inputs = ["--predict_input_path", "eval.parquet"] if command == "predict" else []
    code, lines = ended(capsys, command, *arguments, *inputs)
    assert code == 2
    says(lines[-1], "p.json", ".parquet or .csv file, or a folder")
    assert not Path("model").exists() or not list(Path("model").glob("model.ckpt*"))
    assert not Path("p.json").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_faults_of_the_config_end_with_2_and_a_line_each(command, config, capsys):
    config.write_text(
        changed(("batch_size", "batch_sise"), ("hash_bucket_size: 10", ""), ("[4]", "[4, 0]"))
    )
    code, lines = ended(
        capsys, command, *WITH_CONFIG[command], "--pipeline_config", config, "--set", "a=1"
    )
    assert code == 2
    lines_of_file = (":10: data_config.batch_sise", ":15: ", ":21: ")
    places = ("--set a", *(f"{config}{line}" for line in lines_of_file))
    assert len(lines) == len(places)
    for line, place in zip(lines, places, strict=True):
        assert line.startswith(f"{place}"), line


def test_from_a_shell_a_fault_is_a_line_on_stderr_without_traceback(config):
    config.write_text(changed(("batch_size", "batch_sise")))
    done = forked.run("-m", "tzmmoe.train", "--pipeline_config", config)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"{config}:10: data_config.batch_sise: no such field; did you mean 'batch_size'?\n"
    )


def test_from_a_shell_a_correct_config_ends_with_0(config):
    done = python(
        *("-m", "tzmmoe.train", "--check", "--device", "cpu", "--pipeline_config", str(config)),
        folder=config.parent,
    )
    assert done.returncode == 0, done.stderr
    assert "the config fits the data; the first batch has 8 rows" in done.stderr
    assert not (config.parent / "model").exists()


def test_the_four_commands_follow_each_other(config, capsys):
    assert ended(capsys, "train", "--pipeline_config", config, "--device", "cpu")[0] == 0
    assert ended(capsys, "eval", "--pipeline_config", config, "--device", "cpu")[0] == 0
    code, lines = ended(capsys, "train", "--pipeline_config", config, "--device", "cpu")
    assert code == 2
    assert "pass --continue_train" in lines[-1]
    flags = ["--predict_input_path", "eval.parquet", "--predict_output_path", "out.parquet"]
    code, lines = ended(capsys, "predict", "--pipeline_config", config, *flags, "--device", "cpu")
    assert code == 0
    assert pq.read_table("out.parquet").num_rows == 16


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--train_input_path", "trian.parquet"], ["trian.parquet: ", "'train.parquet'"]),
        (["--eval_input_path", "s3://x/y.parquet"], ["s3://x/y", "local", "--eval_input_path"]),
        (["--model_dir", ""], ["--model_dir", "empty", "value", "leave it out"]),
        (["--device", "tpu"], ["--device: 'tpu'", "auto, cpu or cuda"]),
        (["--fine_tune_checkpoint", "nowhere"], ["nowhere"]),
        (["--set", "data_config.label_fields=[click,bye]"], ["'buy'", "data_config.label_fields"]),
        (["--edit_config_json", "{"], ["--edit_config_json: ", "JSON"]),
    ],
)
def test_what_the_user_can_fix_ends_with_2_and_says_how(config, capsys, flags, parts):
    code, lines = ended(capsys, "train", "--pipeline_config", config, "--device", "cpu", *flags)
    assert code == 2
    text = "\n".join(lines)
    assert "Traceback" not in text
    says(text, *parts)


# Paths that the config names, each with its line there, and what is missing at them.
TOP = 'train_config {\n  fine_tune_checkpoint: "nowhere"'
NAMED = {
    "train_input_path": ('train_input_path: "train.parquet"', 'train_input_path: "nowhere"', 1),
    "eval_input_path": ('eval_input_path: "eval.parquet"', 'eval_input_path: "no*.csv"', 2),
    "test_input_path": ("train_config {", 'test_input_path: "a,b"\ntrain_config {', 4),
    "train_config.fine_tune_checkpoint": ("train_config {", TOP, 5),
}


@pytest.mark.parametrize("field", NAMED)
def test_a_missing_file_is_blamed_on_the_line_of_the_config_that_names_it(config, capsys, field):
    old, new, line = NAMED[field]
    config.write_text(changed((old, new)))
    flags = ["--pipeline_config", config, "--device", "cpu"]
    code, lines = ended(capsys, "train", *flags)
    assert code == 2
    says(lines[-1], f"{field} ({config}:{line})")
    assert "--" not in lines[-1]
    name = field.rpartition(".")[2]
    _, lines = ended(capsys, "train", *flags, f"--{name}", "lost")
    says(lines[-1], "lost: ", f"--{name}")
    assert "my.config:" not in lines[-1]
    _, lines = ended(capsys, "train", *flags, "--set", f"{field}=lost")
    says(lines[-1], "lost: ", f"{field} in --set")


def test_a_model_dir_without_a_checkpoint_is_blamed_on_what_names_it(config, capsys):
    flags = ["--pipeline_config", config, "--device", "cpu"]
    for more, parts in (
        ([], ["model: ", f"model_dir ({config}:3) or --checkpoint_path"]),
        (["--model_dir", "other"], ["other: ", "another --model_dir or --checkpoint_path"]),
        (["--checkpoint_path", "third"], ["third: ", "another --checkpoint_path"]),
    ):
        code, lines = ended(capsys, "eval", *flags, *more)
        assert code == 2
        says(lines[-1], *parts)


def test_rows_held_out_are_blamed_on_the_path_that_they_come_from(config, capsys):
    split = ("data_config {", "data_config {\n  eval_split { fraction: 0.2 }")
    config.write_text(changed(('eval_input_path: "eval.parquet"\n', ""), split))
    (config.parent / "train.parquet").unlink()
    code, lines = ended(capsys, "train", "--pipeline_config", config, "--device", "cpu")
    assert code == 2
    says(lines[-1], f"train_input_path ({config}:1)")


def ending(error: BaseException) -> Callable[[Sequence[str]], None]:
    def main(argv: Sequence[str]) -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("rows.csv: does not exist"), 2),
        (OSError(28, "No space left on device", "model/train.log"), 2),
        (ModuleNotFoundError("", name="tzmmoe.protos"), 2),
        (ModuleNotFoundError("", name="tzmmoe.protos.model_pb2"), 2),
        (Interrupted(15), 143),
        (Interrupted(2), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_how_a_run_ended_is_its_exit_code(error, code):
    with pytest.raises(SystemExit) as stopped:
        cli.run(ending(error))
    assert stopped.value.code == code


@pytest.mark.parametrize(
    "error", [RuntimeError("ours"), AssertionError(), ModuleNotFoundError("", name="torch")]
)
def test_a_bug_of_ours_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        cli.run(ending(error))


def test_flags_that_stand_for_fields_come_after_settings_and_keep_their_text():
    parser = cli.parser("")
    given = ["--model_dir", "a=b", "--set", "model_dir=c", "--eval_input_path", ""]
    found = cli.changes(parser.parse_args(given))
    assert found["settings"] == ["model_dir=c"]
    assert found["flags"] == {"model_dir": "a=b", "eval_input_path": ""}


def test_a_fault_of_a_flag_names_the_flag(config, capsys):
    """Not with --set, nor with the line of the config."""
    flags = ["--train_input_path", "nowhere.parquet", "--predictions_path", "x.parquet"]
    code, lines = ended(capsys, "train", "--pipeline_config", config, *flags, "--set", "model_dir=")
    assert code == 2
    assert lines[-1].startswith("--set: model_dir: is not set")
    code, lines = ended(capsys, "train", "--pipeline_config", config, "--device", "gpu")
    assert code == 2
    says(lines[-1], "--device: 'gpu'", "auto, cpu or cuda")
    changes = ["--set", "runtime_config.device=gpu", "--set", "data_config.batch_size=0"]
    code, lines = ended(capsys, "train", "--pipeline_config", config, *changes)
    assert [line.split(": ")[1] for line in lines[-2:]] == [
        "data_config.batch_size",
        "runtime_config.device",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("", []), ("a", ["a"]), (" a, b ,,c ", ["a", "b", "c"])],
)
def test_names_are_separated_by_commas(text, expected):
    assert cli.names(text) == expected


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Python in a checkout whose schema was never compiled. Without the site module, it does not
    find the checkout that is installed; PYTHONPATH brings the other packages back."""
    left_out = shutil.ignore_patterns("protos", "__pycache__")
    shutil.copytree(ROOT / "tzmmoe", tmp_path / "tzmmoe", ignore=left_out)
    (tmp_path / "my.config").write_text(CONFIG)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return python("-S", *arguments, folder=tmp_path, PYTHONPATH=sysconfig.get_path("purelib"))

    return run


def test_a_bare_checkout_says_run_make_proto(bare):
    done = bare("-m", "tzmmoe.train", "--pipeline_config", "my.config")
    assert done.returncode == 2
    assert done.stderr.strip() == NO_SCHEMA
    assert "run: make proto" in NO_SCHEMA


def test_a_bare_checkout_still_gives_help(bare):
    assert bare("-m", "tzmmoe.train", "--help").returncode == 0


def test_as_a_library_a_bare_checkout_raises_an_import_error_that_says_so(bare):
    done = bare("-c", "from tzmmoe.config import load")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {NO_SCHEMA}"
