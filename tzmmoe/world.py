"""The processes of a run, and what they say to each other. All of it is torch.distributed."""

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

    @classmethod
    def join(cls, device: torch.device, timeout_s: float, attempt: int = 0) -> "World":
        """Meet the other processes, whose addresses torchrun put into the environment.

        gloo carries what lies in memory, nccl what lies on a GPU. ``timeout_s``: how long a
        process waits for the others, here and in each exchange. ``attempt``: how often torchrun
        started them anew; its store still holds the addresses of those that are gone.
        """
        patience = timedelta(seconds=timeout_s)
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            known, rank, size = next(dist.rendezvous("env://", timeout=patience))
            known.set_timeout(patience)
            store = dist.PrefixStore(f"attempt {attempt}", known)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=patience
            )
        roll = dist.new_group(backend="gloo", timeout=patience)
        return cls(dist.get_rank(), dist.get_world_size(), roll)

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
