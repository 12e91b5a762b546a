"""Runs that are killed, stopped, or meet what they cannot read."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from e2e import tiny, victim
from full_disk import files_up_to
from messages import says

from tzmmoe import train
from tzmmoe.errors import CheckpointError
from tzmmoe.run.results import TRAINING_RESULTS
from tzmmoe.system import checkpoint, cli
from tzmmoe.system.environment import STOPPING
from tzmmoe.system.world import World

# Checkpoints 5, 10 and 13; step 13 is in the second epoch; older ones are deleted on the way.
CHANGES = {"train_config__num_steps": 14, "train_config__keep_checkpoint_max": 1}
KILLED = -signal.SIGKILL

Run = Callable[..., int]


@pytest.fixture(scope="module")
def run(tiny_folder: Path) -> Iterator[Run]:
    """Trains in a folder, in a process of its own; gives its exit code."""
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    server = subprocess.Popen(
        [sys.executable, victim.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )

    def train(cwd: Path, **how: object) -> int:
        cwd.mkdir(exist_ok=True)
        request = {"cwd": str(cwd), "folder": str(tiny_folder), "changes": CHANGES, **how}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    with server:
        yield train
        server.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("undisturbed")
    assert run(cwd, events=True) == 0
    return cwd


def everything(cwd: Path) -> dict[str, object]:
    """All that a run leaves, but the record of its starts: each checkpoint and the results."""
    model_dir = cwd / "run"
    names = sorted(path.name for path in model_dir.iterdir())
    found: dict[str, object] = {"names": names}
    for path in checkpoint.find(model_dir):
        for name, content in tiny.tensors(path).items():
            found[f"{path.name}/{name}"] = content
        for name in ("state.json", "pipeline.config"):
            found[f"{path.name}/{name}"] = (path / name).read_bytes()
        checkpoint.open_checkpoint(path)
    return found | {
        name: (model_dir / name).read_bytes() for name in (TRAINING_RESULTS, "pipeline.config")
    }


def moments(events: list[str], seed: int) -> list[int]:
    """Of the lines that the run executes, some from each of the watched files."""
    source = random.Random(seed)
    chosen = []
    for file in victim.WATCHED:
        places = [number for number, each in enumerate(events, 1) if each == file]
        assert places, f"no line of {file} was seen; is its place still right?"
        often = file.endswith(("system/checkpoint.py", "shutil.py"))
        chosen += source.sample(places, 3 if often else 1)
    return chosen


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 9))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_was_killed_anywhere_ends_like_one_that_was_not(
    run, undisturbed, tmp_path, seed
) -> None:
    """In the middle of saving, evaluating, deleting and training; no trace of it is left. Twelve
    moments by each seed, 108 in all."""
    expected = everything(undisturbed)
    events = json.loads((undisturbed / "events.json").read_text())
    chosen = moments(events, seed)
    assert len(chosen) == 12
    for event in chosen:
        cwd = tmp_path / str(event)
        assert run(cwd, event=event) == KILLED
        assert run(cwd) == 0
        assert everything(cwd) == expected, f"killed at line {event} of {len(events)}"


def test_a_run_that_is_killed_again_and_again_ends_like_one_that_was_not(
    run, undisturbed, tmp_path
) -> None:
    """By the clock this time, wherever it happens to be, until a run comes through."""
    source = random.Random(0)
    code, kills = KILLED, 0
    while code == KILLED and kills < 100:
        code = run(tmp_path, after_s=0.02 * 1.25**kills * source.uniform(0.5, 1))
        kills += code == KILLED
    assert code == 0
    assert kills > 0
    assert everything(tmp_path) == everything(undisturbed)


def command(folder: Path, model_dir: Path, *flags: str) -> list[str]:
    return [
        *("--pipeline_config", str(folder / "tiny.config")),
        *("--model_dir", str(model_dir), "--device", "cpu", *flags),
    ]


def start(folder: Path, model_dir: Path) -> subprocess.Popen:
    """A run that would go on for a long time."""
    flags = command(folder, model_dir, "--set", "train_config.num_epochs=100000")
    return subprocess.Popen(
        [sys.executable, "-m", "tzmmoe.train", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        preexec_fn=heard,
    )


def heard() -> None:
    """Ignore no signal, even if the tests run under nohup."""
    for signum in STOPPING:
        signal.signal(signum, signal.SIG_DFL)


@pytest.mark.long
def test_signals_end_the_command_with_a_checkpoint_and_their_own_exit_codes(
    tiny_folder, tmp_path
) -> None:
    codes = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129, signal.SIGUSR1: 138}
    runs = {number: start(tiny_folder, tmp_path / number.name) for number in codes}
    try:
        for number, process in runs.items():
            model_dir = tmp_path / number.name
            deadline = time.monotonic() + 100
            while not checkpoint.find(model_dir):
                assert time.monotonic() < deadline
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.02)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == codes[number]
            said = (
                "stopping after this step with a checkpoint",
                "stopping; the checkpoint is saved",
                "stopping as soon as the checkpoint is saved",
            )
            assert any(words in errors for words in said)
            assert "Traceback" not in errors
            newest = checkpoint.open_checkpoint(checkpoint.newest(model_dir))
            assert not list(model_dir.glob(".writing*"))
            assert f"saved {newest.path}" in errors
    finally:
        for process in runs.values():
            process.kill()
            process.wait()
            process.stderr.close()


def outcome(monkeypatch, capsys, arguments: list[str]) -> tuple[int, str]:
    """Exit code and last words of the command line."""
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.main)
    return stopped.value.code, capsys.readouterr().err


def test_what_a_user_can_repair_ends_with_code_2_and_a_message(
    tiny_folder, tmp_path, monkeypatch, capsys
) -> None:
    """Without traceback: a wrong path, a bad value in a worker, a damaged checkpoint."""
    flags = command(tiny_folder, tmp_path / "run")
    code, said = outcome(monkeypatch, capsys, [*flags, "--train_input_path", "nowhere.parquet"])
    assert (code, said.splitlines()[-1]) == (
        2,
        "nowhere.parquet: does not exist; check --train_input_path",
    )

    rows = tiny.rows(0, 64)
    labels = [*rows["click"].to_pylist()[:50], 7, *rows["click"].to_pylist()[51:]]
    bad = rows.set_column(rows.column_names.index("click"), "click", [labels])
    file = tiny.write(bad, tmp_path / "bad.parquet")
    code, said = outcome(monkeypatch, capsys, [*flags, "--train_input_path", str(file)])
    assert code == 2
    assert f"{file}, row 51, column 'click'" in said
    assert "Traceback" not in said

    shutil.rmtree(tmp_path / "run")
    train.main([*flags, "--set", "train_config.num_steps=7"])
    for path in checkpoint.find(tmp_path / "run"):
        (path / "state.json").write_text("{}")
    again = [*flags, "--continue_train"]
    code, said = outcome(monkeypatch, capsys, again)
    assert code == 2
    says(said.splitlines()[-1], "model.ckpt-5/state.json is damaged", "no earlier checkpoint")


def test_a_disk_that_fills_up_ends_the_run_and_a_later_one_goes_on(
    tiny_folder, undisturbed, tmp_path, monkeypatch
) -> None:
    """A limit on the size of files, while the second checkpoint is written, plays the disk."""
    original = checkpoint.save

    def save(model_dir: Path, content: checkpoint.Content, world: World) -> Path:
        with files_up_to(5000) if content.step == 10 else nullcontext():
            return original(model_dir, content, world)

    monkeypatch.chdir(tmp_path)
    run = tiny.pipeline(tiny_folder, "run", **CHANGES)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(CheckpointError, match=r"ckpt-10 cannot be written.*File too large"):
            run.fit()
    assert checkpoint.open_checkpoint(checkpoint.newest(Path("run"))).step == 5
    run.fit(continue_train=True)
    assert everything(tmp_path) == everything(undisturbed)
