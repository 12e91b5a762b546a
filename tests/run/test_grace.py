"""runtime_config.grace_period: the time that a run has after a signal."""

import math
import signal
import threading
import time
from pathlib import Path

import forked
import pytest
from e2e import tiny
from messages import fails, says

from tzmmoe.errors import ConfigError, Interrupted
from tzmmoe.run import ends
from tzmmoe.run.ends import Grace
from tzmmoe.system import checkpoint

STUCK = """
import os, signal, sys, time
from pathlib import Path
from e2e import tiny
from tzmmoe.system import checkpoint, cli

folder, model_dir, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
original = checkpoint.save

def save(model_dir, content, world):
    if content.step == step:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # which must not break off a save
        (model_dir / ".writing-model.ckpt-99").mkdir()
        time.sleep(100)
    return original(model_dir, content, world)

checkpoint.save = save
changes = {"runtime_config__grace_period": "0.5s"}
cli.run(lambda argv: tiny.pipeline(folder, model_dir, **changes).fit())
"""


def test_a_run_that_cannot_end_in_time_ends_at_once_and_loses_no_checkpoint(
    tiny_folder, tmp_path
) -> None:
    """It is stuck while saving, where a second signal does nothing."""
    began = time.monotonic()
    done = forked.run("-c", STUCK, tiny_folder, tmp_path / "stuck", "10")
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert time.monotonic() - began < 90
    says(done.stderr, "runtime_config.grace_period", "0.5s", "--continue_train")
    assert "Traceback" not in done.stderr
    assert checkpoint.newest(tmp_path / "stuck").name == "model.ckpt-5"
    tiny.pipeline(tiny_folder, tmp_path / "stuck").fit(continue_train=True)
    assert not list((tmp_path / "stuck").glob(".writing*"))
    tiny.pipeline(tiny_folder, tmp_path / "whole").fit()
    assert tiny.end(tmp_path / "stuck") == tiny.end(tmp_path / "whole")


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which a process would have ended at once."""
    codes: list[int] = []
    monkeypatch.setattr(ends.os, "_exit", codes.append)
    return codes


def test_what_ends_in_time_is_left_alone(exits, tiny_folder, tmp_path, monkeypatch) -> None:
    """And so is the program around it, after the run."""
    tiny.after_each_step(
        monkeypatch, lambda number: signal.raise_signal(signal.SIGUSR1) if number == 6 else None
    )
    run = tiny.pipeline(tiny_folder, tmp_path / "run", runtime_config__grace_period="60s")
    with pytest.raises(Interrupted):
        run.fit()
    assert checkpoint.newest(tmp_path / "run").name == "model.ckpt-6"
    assert threading.active_count() == len(threading.enumerate())
    assert not [each for each in threading.enumerate() if "_watch" in each.name]
    assert exits == []


@pytest.mark.parametrize(("lasts_s", "codes"), [(0.0, []), (0.6, [143])])
def test_the_time_begins_with_the_signal(exits, lasts_s, codes) -> None:
    grace = Grace.of("0.3s")
    with grace.watched():
        time.sleep(0.5)
        grace.begin(signal.SIGTERM)
        time.sleep(lasts_s)
    assert exits == codes


def test_without_a_signal_or_a_period_nothing_ends_it(exits) -> None:
    for text in ("0.01s", None):
        grace = Grace.of(text)
        with grace.watched():
            if text is None:
                grace.begin(signal.SIGTERM)
            time.sleep(0.1)
    assert exits == []
    assert Grace.of(None).seconds == math.inf


def test_a_save_that_takes_longer_than_the_period_is_told(
    tiny_folder, tmp_path, monkeypatch, caplog
) -> None:
    original = checkpoint.save

    def slow(*arguments: object) -> Path:
        time.sleep(0.06)
        return original(*arguments)

    changes = {"runtime_config__grace_period": "0.05s", "train_config__num_steps": 6}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", slow)
        tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(
        "grace_period is 0.05s" in line and "save_checkpoints_steps" in line for line in warned
    )
    assert Grace.of("1h").doubt(3599.0) == "" == Grace.of(None).doubt(1e9)


@pytest.mark.parametrize("text", ["30", "-1s", "soon", ""])
def test_a_period_that_is_no_duration_is_refused(tiny_folder, tmp_path, text) -> None:
    with fails(ConfigError, "runtime_config.grace_period", repr(text), "a unit"):
        tiny.pipeline(tiny_folder, tmp_path / "run", runtime_config__grace_period=f'"{text}"')
