"""Steps that all processes of a run take together."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from tzmmoe.errors import UserError
from tzmmoe.system.world import World

T = TypeVar("T")


class Lockstep:
    """Keeps the processes of a run at the same step, whatever each of them has at hand.

    Before each step they add up a few numbers: who has something to work on, who cannot go on, who
    requests what, and what the step's losses are divided by. So all take as many steps, an error
    in one ends them all at the same step, and a signal that reached one stops them all.

    ``requests``: by name, whether this process makes the request now.
    """

    def __init__(
        self, world: World, requests: Mapping[str, Callable[[], bool]] | None = None
    ) -> None:
        self.world = world
        self._requests = dict(requests or {})
        self._granted: set[str] = set()
        self._fault: UserError | None = None

    def granted(self, request: str) -> bool:
        """Whether a process makes a request: with several, as of the start of this step."""
        return self._requests[request]() if self.world.size == 1 else request in self._granted

    def refuse(self, fault: UserError) -> None:
        """End the run by this error: now, or, with several processes, before their next step."""
        if self.world.size == 1:
            raise fault
        self._fault = self._fault or fault

    def check(self) -> None:
        """Raise in all processes what one of them refused, once."""
        if self.world.size > 1:
            fault, self._fault = self._fault, None
            self.world.agree(fault)

    def steps(
        self, items: Iterator[T], idle: Callable[[], T], weigh: Callable[[T], Tensor] | None = None
    ) -> Iterator[tuple[T, Tensor | None]]:
        """The items, and what is ``idle`` until the last process has none left.

        Each comes with the sum of what ``weigh`` gives in all processes, float64; None without.

        Raises:
            UserError: what the items raised in one of the processes, or was refused there.
        """
        if self.world.size == 1:
            yield from ((item, weigh(item) if weigh else None) for item in items)
            return
        spare = None
        while True:
            item = self._next(items)
            if item is None and spare is None:
                spare = idle()
            now = spare if item is None else item
            flags = [item is not None, self._fault is not None]
            flags += [request() for request in self._requests.values()]
            parts = [torch.tensor(flags, dtype=torch.float64)]
            if weigh:
                parts.append(weigh(now))
            total = self.world.total(torch.cat(parts))
            having, failing, *counts = total[: len(flags)].tolist()
            requested = zip(self._requests, counts, strict=True)
            self._granted |= {name for name, count in requested if count}
            if failing:
                self.check()
            if not having:
                return
            yield now, total[len(flags) :] if weigh else None

    def _next(self, items: Iterator[T]) -> T | None:
        if self._fault:
            return None
        try:
            return next(items, None)
        except UserError as error:
            self._fault = error
            return None
