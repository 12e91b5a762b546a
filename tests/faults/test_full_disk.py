"""A disk that fills up: exit code 2, the path is named, and no partial file stays."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cases import some
from e2e import tiny
from full_disk import files_up_to, small_disk

from tzmmoe import eval, export, predict, train
from tzmmoe.system import checkpoint, cli

Run = Callable[..., tuple[int, str]]
LONG = pytest.mark.long


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Exit code and last line of a command."""

    def done(main: Callable, *arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        code = 0
        try:
            cli.run(main)
        except SystemExit as stopped:
            code = stopped.code
        return code, capsys.readouterr().err.strip().rpartition("\n")[2]

    return done


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("trained") / "model"
    tiny.pipeline(tiny_folder, model_dir, train_config__num_steps=3).fit()
    return model_dir


def flags(folder: Path, model_dir: Path) -> list[object]:
    config = folder / "tiny.config"
    return ["--pipeline_config", config, "--model_dir", model_dir, "--device", "cpu"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of its own, of so many KiB."""
    opened = []

    def make(kilobytes: int) -> Path:
        opened.append(small_disk(tmp_path / "disk", kilobytes << 10))
        opened[0].__enter__()
        return tmp_path / "disk"

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def assert_reported(outcome: tuple[int, str], place: Path, words: str = "No space left") -> None:
    code, line = outcome
    assert code == 2
    assert str(place) in line
    assert words in line


KILOBYTES = [4, 8, 12, 20, 48, 96, 200]
SIZES = [pytest.param(size, marks=LONG if size in (8, 20, 200) else ()) for size in KILOBYTES]


@pytest.mark.parametrize("kilobytes", SIZES)
@pytest.mark.parametrize("tensorboard", some(["true", "false"], "true"))
def test_a_disk_that_fills_up_in_training_is_reported_and_with_room_the_run_resumes(
    tiny_folder, tmp_path, run, disk, kilobytes, tensorboard
) -> None:
    """Wherever it fills up: log, config, TensorBoard, whose thread says nothing of its own,
    checkpoint or results."""
    changes = {"train_config.num_steps": 22, "train_config.log_step_count_steps": 1}
    changes["train_config.use_tensorboard"] = tensorboard
    settings = [part for path, value in changes.items() for part in ("--set", f"{path}={value}")]
    expected = tmp_path / "undisturbed"
    assert run(train.main, *flags(tiny_folder, expected), *settings)[0] == 0
    model_dir = disk(kilobytes) / "run"
    assert_reported(run(train.main, *flags(tiny_folder, model_dir), *settings), model_dir)
    for path in checkpoint.find(model_dir):
        checkpoint.open_checkpoint(path)
    assert not list(model_dir.glob(".writing*"))
    assert not any(each.stat().st_size == 0 for each in model_dir.glob("pipeline.config"))
    subprocess.run(["mount", "-o", "remount,size=100m", str(model_dir.parent)], check=True)
    again = run(train.main, *flags(tiny_folder, model_dir), *settings, "--continue_train")
    assert again[0] == 0
    assert tiny.end(model_dir) == tiny.end(expected)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ""])
@pytest.mark.parametrize("size_bytes", [0, 40, 3000])
def test_a_disk_that_fills_up_in_prediction_is_reported_and_old_files_stay(
    tiny_folder, trained, tmp_path, run, suffix, size_bytes
) -> None:
    output = tmp_path / f"out{suffix}"
    file = output if suffix else output / "part-0.parquet"
    file.parent.mkdir(exist_ok=True)
    file.write_text("old")
    rows = ["--predict_input_path", tiny_folder / "train", "--predict_output_path", output]
    with files_up_to(size_bytes):
        outcome = run(predict.main, *flags(tiny_folder, trained), *rows)
    assert_reported(outcome, file, "File too large")
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("size_bytes", [0, 300, 9000])
def test_a_disk_that_fills_up_in_export_is_reported_and_leaves_nothing(
    tiny_folder, trained, tmp_path, run, size_bytes
) -> None:
    export_dir = tmp_path / "export"
    with files_up_to(size_bytes):
        outcome = run(export.main, *flags(tiny_folder, trained), "--export_dir", export_dir)
    assert_reported(outcome, export_dir, "File too large")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_when_results_are_written_is_reported(
    tiny_folder, trained, tmp_path, run
) -> None:
    """In the model_dir, and in a file that the config names; which stays as it was."""
    results = tmp_path / "results.json"
    old = '{"eval_results": []}'
    results.write_text(old)
    named = ["--set", f"eval_config.output_file={results}"]
    with files_up_to(0):
        outcome = run(eval.main, *flags(tiny_folder, trained), *named)
    assert_reported(outcome, trained / "eval_result.txt", "File too large")
    assert results.read_text() == old
