"""tzmmoe.train, where something happens to process 1 after a step of its own, or before it, while
the others take it: python rank_victim.py WHAT STEP FLAGS. Only if torchrun did not restart it."""

import os
import signal
import sys
from collections.abc import Callable
from itertools import count

import torch

from tzmmoe.learning.step import TrainStep
from tzmmoe.system import cli
from tzmmoe.train import main


def spoil(losses: dict[str, torch.Tensor]) -> None:
    losses["binary_cross_entropy_cvr"] += torch.nan


def lose_machine(losses: dict[str, torch.Tensor]) -> None:
    """With the agent of torchrun that started this process."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


HAPPENS: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {
    "killed": lambda losses: os.kill(os.getpid(), signal.SIGKILL),
    "stopped": lambda losses: os.kill(os.getpid(), signal.SIGSTOP),
    "not a number": spoil,
    "machine lost": lose_machine,
}


def let_happen(what: str, at: int) -> None:
    original, numbers = TrainStep.__call__, count()

    def call(self: TrainStep, *arguments: object) -> tuple:
        first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        due = next(numbers) == at and first and os.environ["RANK"] == "1"
        if due and what == "killed before":
            os.kill(os.getpid(), signal.SIGKILL)
        logits, losses = original(self, *arguments)
        if due:
            HAPPENS[what](losses)
        return logits, losses

    TrainStep.__call__ = call


if __name__ == "__main__":
    what, at, *sys.argv[1:] = sys.argv[1:]
    let_happen(what, int(at))
    cli.run(main)
