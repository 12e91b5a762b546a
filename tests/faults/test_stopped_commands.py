"""Signals at any moment of any command: its exit code, and all or nothing of what it writes."""

import os
import random
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from faults import stopped
from faults.stopped import COMMANDS, Made

from tzmmoe.system.environment import STOPPING

MOMENTS = 24  # of each command, over its whole course


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made.make(tmp_path_factory.mktemp("made"))


Undisturbed = Callable[[str], tuple[Path, float]]


@pytest.fixture(scope="module")
def undisturbed(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What a command leaves that nothing stops, and how many seconds it takes."""

    @cache
    def ended(command: str) -> tuple[Path, float]:
        out = tmp_path_factory.mktemp("undisturbed") / command
        return out, stopped.lasting(command, made, out)

    return ended


def signals_at(moment: int, lasts_s: float) -> list[tuple[float, signal.Signals]]:
    """One or two signals, the first in the given part of MOMENTS of the time that it takes."""
    source = random.Random(moment)
    first_s = lasts_s * 1.05 * (moment + source.random()) / MOMENTS
    times = [first_s, first_s + source.choice([0.0005, 0.01, 0.1, 0.5])]
    count = source.choice([1, 2, 2])
    return [(time_s, source.choice(STOPPING)) for time_s in times[:count]]


SHORT = {"train": (20,), "init": (6,)}
OTHERS = [("predict", (15,)), ("init", (18,))]
PARTS = 4 if os.environ.get("ALL_FAULTS") else 1  # of the moments, which take minutes each
CASES = [(command, range(first, MOMENTS, 4)) for command in COMMANDS for first in range(PARTS)]


@pytest.mark.parametrize(
    ("command", "moments"),
    [
        *(pytest.param(command, moments) for command, moments in SHORT.items()),
        *(pytest.param(*case, marks=pytest.mark.long) for case in OTHERS + CASES),
    ],
)
def test_a_signal_at_any_moment_ends_a_command_with_its_code_and_all_or_nothing(
    made, undisturbed, tmp_path, command, moments
) -> None:
    """A second signal, at times, while the first is being dealt with."""
    whole, lasts_s = undisturbed(command)
    for moment in moments:
        out = tmp_path / str(moment)
        sent = signals_at(moment, lasts_s)
        code, errors = stopped.stopped(stopped.start(command, made, out), sent)
        where = (command, moment, sent, code, errors)
        assert code in (0, *(128 + signum for _, signum in sent)), where
        assert "Traceback" not in errors, where
        assert "Exception ignored" not in errors, where
        assert not list(out.rglob(".writing*")), where
        stopped.CHECKS[command](out, whole, made)
