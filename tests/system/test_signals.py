"""Signals of a command raise at once, but in blocks that hold them at the block's end."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tzmmoe.errors import DataError, Interrupted
from tzmmoe.system import cli
from tzmmoe.system.durable import claimed
from tzmmoe.system.environment import HANGUP, SIGNALS, STOPPING, Signals

OTHERS = [signum for signum in STOPPING if signum != signal.SIGINT]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in STOPPING}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def signals() -> Signals:
    signals = Signals()
    signals.catch()
    return signals


@pytest.mark.parametrize("signum", OTHERS)
def test_a_signal_raises_at_once_and_again(signals, signum) -> None:
    for _ in range(2):
        with pytest.raises(Interrupted) as raised:
            signal.raise_signal(signum)
        assert raised.value.signum == signum
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("kind", [Interrupted, KeyboardInterrupt])
def test_libraries_that_catch_exceptions_do_not_swallow_it(signals, kind) -> None:
    assert not issubclass(kind, Exception)


@pytest.mark.parametrize(
    ("signum", "kind"), [(signal.SIGTERM, Interrupted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_block_that_holds_a_signal_runs_to_its_end(signals, signum, kind) -> None:
    done = []

    def block() -> None:
        with signals.held():
            signal.raise_signal(signum)
            with signals.held():
                done.append("inner")
            done.append("outer")

    with pytest.raises(kind):
        block()
    assert done == ["inner", "outer"]
    with signals.held():
        pass  # what was raised is over


def test_a_block_may_ask_whether_a_signal_has_come(signals) -> None:
    with signals.held() as stop_if_asked:
        stop_if_asked()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            stop_if_asked()
        stop_if_asked()


def test_a_second_signal_breaks_off_a_block_that_holds_the_first(signals) -> None:
    with signals.held():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_block_in_another_thread_holds_nothing(signals) -> None:
    inside, over = threading.Event(), threading.Event()

    def block() -> None:
        with signals.held():
            inside.set()
            over.wait(60)

    thread = threading.Thread(target=block)
    thread.start()
    inside.wait(60)
    try:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("signum", [HANGUP, signal.SIGINT])
def test_what_a_shell_lets_a_job_ignore_stays_ignored(signum) -> None:
    signal.signal(signum, signal.SIG_IGN)
    Signals().catch()
    assert signal.getsignal(signum) is signal.SIG_IGN


def claim_until_stopped(path: Path, after: float) -> None:
    kill = threading.Timer(after, os.kill, (os.getpid(), signal.SIGTERM))
    kill.start()
    while True:
        with claimed(path) as own:
            own.touch()


def test_a_claim_that_is_stopped_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    SIGNALS.catch()
    folder = tmp_path / "new"
    for after in np.random.default_rng(1).uniform(0, 0.002, 300):
        with pytest.raises(Interrupted):
            claim_until_stopped(folder / "rows.parquet", after)
        assert not folder.exists()


DROPPED = """
import signal, sys, time, weakref
from tzmmoe.errors import Interrupted
from tzmmoe.system.environment import Signals

class Noisy:
    def __del__(self) -> None:
        signal.raise_signal({signum})

def react(reference) -> None:
    signal.raise_signal({signum})

class Plain:
    pass

class Broken:
    def __del__(self) -> None:
        raise ValueError("shown")

signals = Signals()
signals.catch()
for kind in (Noisy, Plain):
    for _ in range(20):
        thing = kind()
        reference = weakref.ref(thing, react if kind is Plain else None)
        try:
            del thing
            time.sleep(20)
        except (KeyboardInterrupt, Interrupted) as raised:
            print(getattr(raised, "signum", 2))
Broken()
"""


@pytest.mark.parametrize("signum", STOPPING)
def test_a_signal_is_raised_also_if_python_drops_what_it_first_raised(signum) -> None:
    """What is raised within ``__del__`` and callbacks of weak references goes nowhere."""
    script = DROPPED.format(signum=int(signum))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == [str(int(signum))] * 40
    assert done.stderr.count("Exception ignored") == done.stderr.count("ValueError: shown") == 1


IMPORTED = """
import os, signal, threading, time
threading.Timer(0.05, os.kill, (os.getpid(), {signum})).start()
until = time.monotonic() + 0.5
while time.monotonic() < until:
    sum(range(100))
print("imported")
"""
IMPORTING = """
import time
from tzmmoe.system import cli

def main(argv: list[str]) -> None:
    import imported
    time.sleep(20)

cli.run(main)
"""


@pytest.mark.parametrize("signum", STOPPING)
def test_a_signal_waits_for_the_end_of_an_import(tmp_path: Path, signum) -> None:
    """What passes through native code that is being imported may abort the process."""
    (tmp_path / "imported.py").write_text(IMPORTED.format(signum=int(signum)))
    (tmp_path / "importing.py").write_text(IMPORTING)
    done = subprocess.run(
        [sys.executable, "-m", "importing"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signum, "imported\n", "")


LATE = """
import os, sys
from tzmmoe.errors import DataError
from tzmmoe.system import cli

class Late:
    def __del__(self, kill=os.kill, own=os.getpid()) -> None:
        kill(own, {signum})

def main(argv: list[str]) -> None:
    if {fails}:
        raise DataError("a message")

late = Late()  # which Python deletes when it has given up its handlers
cli.run(main)
"""


@pytest.mark.parametrize("signum", STOPPING)
@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 2)])
def test_a_signal_after_the_command_does_not_change_its_exit_code(signum, fails, code) -> None:
    script = LATE.format(signum=int(signum), fails=fails)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "a message\n" if fails else "")


IN_TEXT = """
import os, signal
from tzmmoe.system import cli

def main(argv: list[str]) -> None:
    exec("os.kill(os.getpid(), signal.SIGINT)", globals())

cli.run(main)
"""


def test_ctrl_c_within_code_that_is_text_has_its_exit_code(tmp_path: Path) -> None:
    """As where a dataclass is being made: of what ``-m`` started, Python would kill itself."""
    (tmp_path / "asked.py").write_text(IN_TEXT)
    done = subprocess.run(
        [sys.executable, "-m", "asked"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT, None])
def test_a_signal_while_the_command_is_ended_has_its_exit_code(monkeypatch, first) -> None:
    """As a second one, or as the first, just before signals change nothing any more."""
    original, times = SIGNALS.end, []

    def end() -> None:
        times.append(1)
        if len(times) == 1:
            signal.raise_signal(signal.SIGUSR1)
        original()

    def main(argv: Sequence[str]) -> None:
        if first:
            signal.raise_signal(first)

    monkeypatch.setattr(SIGNALS, "end", end)
    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    assert stopped.value.code == 128 + signal.SIGUSR1


@pytest.mark.parametrize("step", ["_set_logging", "_print_error"])
def test_a_signal_before_and_after_the_work_has_its_exit_code(monkeypatch, step) -> None:
    def main(argv: Sequence[str]) -> None:
        raise DataError("a message")

    def come(*arguments: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cli, step, come)
    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    assert stopped.value.code == 143


def test_a_command_that_is_itself_imported_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "imported.py").write_text(
        "import os, signal, time\n"
        "from tzmmoe.system import cli\n"
        "def main(argv):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(20)\n"
        "cli.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import imported"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert (done.returncode, done.stderr) == (143, "")
