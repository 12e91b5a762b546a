"""The processes of a run, and what they say to each other. All of it is torch.distributed."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tzmmoe.errors import LostProcessError, UserError

T = TypeVar("T")

POLL_S = 0.02
ROLL_CALL_S = 5.0  # how long the others have, once one did not answer, to show that they are there


@dataclass(frozen=True)
class World:
    """``size`` processes, of which this one is number ``rank``, counted from 0.

    With one process every method gives at once what it would give to the others. With several, all
    of them must make the same calls in the same order.
    """

    rank: int = 0
    size: int = 1
    roll: dist.ProcessGroup | None = None  # for the roll call
    has_restarted: bool = False  # whether others did the same work before, and ended

    @classmethod
    def join(cls, device: torch.device, timeout_s: float, restarts: int = 0) -> "World":
        """Meet the other processes, whose addresses torchrun put into the environment.

        gloo carries what lies in memory, nccl what lies on a GPU. ``timeout_s``: how long a
        process waits for the others, here and in each exchange. ``restarts``: how often torchrun
        says that it started this one anew.

        Raises:
            LostProcessError: not all came.
        """
        patience = timedelta(seconds=timeout_s)
        if dist.is_initialized():
            roll = dist.new_group(backend="gloo", timeout=patience)
            return cls(dist.get_rank(), dist.get_world_size(), roll, restarts > 0)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        known, rank, size = next(dist.rendezvous("env://", timeout=patience))
        known.set_timeout(patience)
        number = gathering(known, rank, size, timeout_s)
        store = dist.PrefixStore(f"gathering {number}", known)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
        roll = dist.new_group(backend="gloo", timeout=patience)
        has_restarted = number > 1 or any(cls(rank, size).gather(restarts))
        return cls(rank, size, roll, has_restarted)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes what is written once."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same to the last bit in each."""
        if self.size > 1:
            values = values.clone()
            with self.named("adding up numbers"):
                dist.all_reduce(values)
        return values

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes give."""
        if self.size == 1:
            return number
        found = torch.tensor(number)
        with self.named("comparing numbers"):
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def from_first(self, values: Tensor) -> Tensor:
        """The first process's values, in all of them."""
        if self.size > 1:
            with self.named("hearing from the first"):
                dist.broadcast(values, 0)
        return values

    def gather(self, value: T) -> list[T]:
        """What each process gives, in the order of their ranks."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        with self.named("telling each other where they stand"):
            dist.all_gather_object(found, value)
        return found

    def each(self, act: Callable[[], T]) -> T:
        """What ``act`` gives here, once every process has done it.

        Raises:
            UserError: in all processes, if one of them raised it, with its rank if not all did.
        """
        if self.size == 1:
            return act()
        value, fault = None, None
        try:
            value = act()
        except UserError as error:
            fault = error
        self.agree(fault)
        return value

    def first(self, act: Callable[[], T]) -> T:
        """What ``act`` gives in the first process, in all of them; so with a UserError."""
        return self.gather(self.each(lambda: act() if self.is_first else None))[0]

    def agree(self, fault: UserError | None) -> None:
        """Raise in all processes what one of them brings; nothing if none does."""
        found = self.gather(fault and (type(fault), str(fault)))
        faults = {rank: each for rank, each in enumerate(found) if each}
        if not faults:
            return
        rank, (kind, text) = next(iter(faults.items()))
        error = kind.saying(text if len(set(found)) == 1 else f"rank {rank}: {text}")
        error.is_shared = True
        raise error

    @contextmanager
    def named(self, what: str) -> Iterator[None]:
        """Raise LostProcessError for an exchange in the body that another process does not take
        part in, with the ranks that are missing where they can be told."""
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if self.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in text):
                raise
            why = self._call_roll() if "imed out" in text else "it ended, or the network did"
            raise LostProcessError(
                f"rank {self.rank}: another process is gone or stuck while {what}: {why}"
            ) from error

    def _call_roll(self) -> str:
        """Which processes do not answer."""
        patience = timedelta(seconds=ROLL_CALL_S)
        try:
            dist.monitored_barrier(self.roll, timeout=patience, wait_all_ranks=True)
        except RuntimeError as error:
            return str(error).strip().splitlines()[0]
        return "all answer again; if it was only slow, raise runtime_config.collective_timeout"


def gathering(store: dist.Store, rank: int, size: int, timeout_s: float) -> int:
    """A number that these processes have in common, and none before them had; the first is 1.

    torchrun keeps its store when it starts processes anew, with the addresses of those that are
    gone, and a machine that joins later counts fewer restarts than the others. So each process
    comes under a name of its own, which the first answers with the number.

    Raises:
        LostProcessError: not all came within ``timeout_s``.
    """
    if rank:
        name = uuid.uuid4().hex
        store.set(f"here {rank}", name)
        try:
            number = int(store.get(f"answer {name}"))
        except RuntimeError as error:
            raise LostProcessError(f"rank {rank}: rank 0 did not come: {error}") from error
        store.set(f"met {number} {rank}", "")
        return number
    number, answered, missing = store.add("gatherings", 1), {}, set(range(1, size))
    until = time.monotonic() + timeout_s
    while missing:
        for other in sorted(missing):
            name = store.get(f"here {other}") if store.check([f"here {other}"]) else None
            if name and answered.get(other) != name:  # perhaps of one that is gone
                answered[other] = name
                store.set(f"answer {name.decode()}", str(number))
            if store.check([f"met {number} {other}"]):
                missing.remove(other)
        if missing and time.monotonic() > until:
            who = ", ".join(map(str, sorted(missing)))
            raise LostProcessError(f"rank 0: after {timeout_s:g} s these did not come: rank {who}")
        time.sleep(POLL_S if missing else 0)
    return number
