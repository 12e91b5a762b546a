"""The processes of a run and their exchanges, by torch.distributed."""

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
ROLL_CALL_S = 5.0  # how long the others have to respond after an exchange has timed out


@dataclass(frozen=True)
class World:
    """``size`` processes, of which this one is number ``rank``, counted from 0.

    With a single process, every method returns at once. With several, all of them must make the
    same calls in the same order.
    """

    rank: int = 0
    size: int = 1
    roll: dist.ProcessGroup | None = None  # for the roll call
    has_restarted: bool = False  # whether this group replaces one that failed

    @classmethod
    def join(cls, device: torch.device, timeout_s: float, restarts: int = 0) -> "World":
        """Join the other processes, by the addresses that torchrun has put into the environment.

        gloo carries tensors in memory, nccl those on a GPU. ``timeout_s``: how long a process waits
        for the others, here and in each exchange. ``restarts``: how often torchrun says that it
        has restarted this one.

        Raises:
            LostProcessError: some process did not join in time.
        """
        patience = timedelta(seconds=timeout_s)
        if dist.is_initialized():
            roll = dist.new_group(backend="gloo", timeout=patience)
            return cls(dist.get_rank(), dist.get_world_size(), roll, restarts > 0)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        shared, rank, size = next(dist.rendezvous("env://", timeout=patience))
        shared.set_timeout(patience)
        number = gathering(shared, rank, size, timeout_s)
        # The store outlives restarts; the prefix hides the addresses of processes that are gone.
        store = dist.PrefixStore(f"gathering {number}", shared)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
        roll = dist.new_group(backend="gloo", timeout=patience)
        has_restarted = number > 1 or any(cls(rank, size).gather(restarts))
        return cls(rank, size, roll, has_restarted)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files of which a run has one."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, identical in each to the last bit."""
        if self.size > 1:
            values = values.clone()
            with self.named("summing values"):
                dist.all_reduce(values)
        return values

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers."""
        if self.size == 1:
            return number
        largest = torch.tensor(number)
        with self.named("taking a maximum"):
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def from_first(self, values: Tensor) -> Tensor:
        """The values of the first process, returned in all of them."""
        if self.size > 1:
            with self.named("receiving values from rank 0"):
                dist.broadcast(values, 0)
        return values

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        with self.named("exchanging status"):
            dist.all_gather_object(values, value)
        return values

    def each(self, act: Callable[[], T]) -> T:
        """What ``act`` returns in this process, once it has succeeded in all of them.

        Raises:
            UserError: in every process, if ``act`` raised one in any; with the rank unless it was
                the same in all.
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
        """What ``act`` returns, or raises as a UserError, in the first process: for all of them."""
        return self.gather(self.each(lambda: act() if self.is_first else None))[0]

    def agree(self, fault: UserError | None) -> None:
        """Raise in every process the fault of the lowest rank that has one, if any has."""
        by_rank = self.gather(fault and (type(fault), str(fault)))
        rank = next((rank for rank, other in enumerate(by_rank) if other), None)
        if rank is None:
            return
        kind, text = by_rank[rank]
        error = kind.saying(text if len(set(by_rank)) == 1 else f"rank {rank}: {text}")
        error.is_shared = True
        raise error

    @contextmanager
    def named(self, what: str) -> Iterator[None]:
        """Raise LostProcessError if another process fails to join an exchange in the block.

        ``what`` names the exchange; the message lists the missing ranks if they can be identified.
        """
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if self.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in text):
                raise
            why = self._call_roll() if "imed out" in text else "it exited, or the network failed"
            raise LostProcessError(
                f"rank {self.rank}: lost contact with another process while {what}: {why}"
            ) from error

    def _call_roll(self) -> str:
        """The processes that no longer respond."""
        patience = timedelta(seconds=ROLL_CALL_S)
        try:
            dist.monitored_barrier(self.roll, timeout=patience, wait_all_ranks=True)
        except RuntimeError as error:
            return str(error).strip().splitlines()[0]
        return "all respond again; if one was only slow, raise runtime_config.collective_timeout"


def gathering(store: dist.Store, rank: int, size: int, timeout_s: float) -> int:
    """A number that these processes share and no earlier group had, counted from 1.

    torchrun keeps its store across restarts, with the addresses of processes that are gone, and a
    machine that joins later has counted fewer restarts than the others. So each process announces
    itself under a random name, which the first process answers with the number.

    Raises:
        LostProcessError: some process did not join within ``timeout_s``.
    """
    if rank:
        name = uuid.uuid4().hex
        store.set(f"here {rank}", name)
        try:
            number = int(store.get(f"answer {name}"))
        except RuntimeError as error:
            raise LostProcessError(f"rank {rank}: rank 0 did not join: {error}") from error
        store.set(f"met {number} {rank}", "")
        return number
    number, answered, missing = store.add("gatherings", 1), {}, set(range(1, size))
    until = time.monotonic() + timeout_s
    while missing:
        for other in sorted(missing):
            name = store.get(f"here {other}") if store.check([f"here {other}"]) else None
            if name and answered.get(other) != name:  # it may belong to a process that is gone
                answered[other] = name
                store.set(f"answer {name.decode()}", str(number))
            if store.check([f"met {number} {other}"]):
                missing.remove(other)
        if missing and time.monotonic() > until:
            ranks = ", ".join(map(str, sorted(missing)))
            raise LostProcessError(f"rank 0: did not join within {timeout_s:g} s: rank {ranks}")
        time.sleep(POLL_S if missing else 0)
    return number
