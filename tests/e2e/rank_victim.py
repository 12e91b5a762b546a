"""tzmmoe.train, where something happens to process 1 after a step of its own, or before it, while
the others take it: python rank_victim.py WHAT STEP FLAGS. Only if torchrun did not restart it."""

import os
import signal
import sys
from collections.abc import Callable

import torch

from tzmmoe.run.trainer import Trainer
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
    original = Trainer.step

    def step(self: Trainer, batch, share=None) -> dict[str, torch.Tensor]:
        first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        due = first and self.world.rank == 1 and self.steps == at
        if due and what == "killed before":
            os.kill(os.getpid(), signal.SIGKILL)
        losses = original(self, batch, share)
        if due:
            HAPPENS[what](losses)
        return losses

    Trainer.step = step


if __name__ == "__main__":
    what, at, *sys.argv[1:] = sys.argv[1:]
    let_happen(what, int(at))
    cli.run(main)
