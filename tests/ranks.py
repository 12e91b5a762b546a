"""Processes that exchange over gloo, kept for many tests."""

import os
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from forked import CONTEXT

PATIENCE_S = 60.0


class Ranks:
    """``size`` processes. ``run`` lets each call a function of a module with its ``World``."""

    def __init__(self, size: int, patience_s: float) -> None:
        self.size, self._asked = size, 0
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        self._pipes, self._processes = [], []
        for rank in range(size):
            here, there = CONTEXT.Pipe()
            given = (rank, size, port, patience_s, there)
            process = CONTEXT.Process(target=_work, args=given, daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What it returns in each, in the order of the ranks. AssertionError if it fails in one."""
        self._asked += 1
        for pipe in self._pipes:
            pipe.send((self._asked, function, arguments))
        found = []
        for pipe in self._pipes:
            number = 0
            while number != self._asked:  # earlier answers came too late
                assert pipe.poll(PATIENCE_S), "a process does not answer"
                number, *answer = pipe.recv()
            found.append(answer)
        failed = [text for ok, text in found if not ok]
        assert not failed, "\n".join(failed)
        return [value for _, value in found]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


@contextmanager
def ranks(size: int, patience_s: float = PATIENCE_S) -> Iterator[Ranks]:
    """``patience_s``: how long an exchange waits."""
    made = Ranks(size, patience_s)
    try:
        yield made
    finally:
        made.stop()


def _work(rank: int, size: int, port: int, patience_s: float, pipe: Connection) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    import torch

    from tzmmoe.system.world import World

    torch.set_num_threads(1)
    world = World.join(torch.device("cpu"), patience_s)
    while True:
        number, function, arguments = pipe.recv()
        try:
            pipe.send((number, True, function(world, *arguments)))
        except Exception:
            pipe.send((number, False, f"rank {rank}: {traceback.format_exc()}"))
