"""Keeps the processes of a run at the same step."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from tzmmoe.errors import UserError
from tzmmoe.system.world import World

T = TypeVar("T")


class Lockstep:
    """Keeps the processes of a run at the same step, however much work each of them has.

    Before each step they add up a few numbers: who has a batch, who has failed, who makes which
    request, and the denominators of the step's losses. So all take equally many steps, an error in
    one ends all at the same step, and a signal to one stops all.

    ``requests``: by name, whether this process makes the request at the moment.
    """

    def __init__(
        self, world: World, requests: Mapping[str, Callable[[], bool]] | None = None
    ) -> None:
        self.world = world
        self._requests = dict(requests or {})
        self._granted: set[str] = set()
        self._fault: UserError | None = None

    def granted(self, request: str) -> bool:
        """Whether any process makes a request; with several, as of the start of this step."""
        return self._requests[request]() if self.world.size == 1 else request in self._granted

    def refuse(self, fault: UserError) -> None:
        """End the run with this error: now, or before the next step if there are several
        processes."""
        if self.world.size == 1:
            raise fault
        self._fault = self._fault or fault

    def check(self) -> None:
        """Raise in all processes the error that one of them was refused with; only once."""
        if self.world.size > 1:
            fault, self._fault = self._fault, None
            self.world.agree(fault)

    def steps(
        self, items: Iterator[T], idle: Callable[[], T], weigh: Callable[[T], Tensor] | None = None
    ) -> Iterator[tuple[T, Tensor | None]]:
        """The items, then ``idle()`` ones until the last process has run out of its own.

        Each comes with the float64 sum of ``weigh`` over all processes, or None without ``weigh``.

        Raises:
            UserError: raised by the items of any process, or passed to ``refuse`` there.
        """
        if self.world.size == 1:
            yield from ((item, weigh(item) if weigh else None) for item in items)
            return
        spare = None
        while True:
            own = self._next(items)
            if own is None and spare is None:
                spare = idle()
            item = spare if own is None else own
            flags = [own is not None, self._fault is not None]
            flags += [request() for request in self._requests.values()]
            parts = [torch.tensor(flags, dtype=torch.float64)]
            if weigh:
                parts.append(weigh(item))
            total = self.world.total(torch.cat(parts))
            busy, failing, *requesting = total[: len(flags)].tolist()
            counts = zip(self._requests, requesting, strict=True)
            self._granted |= {name for name, count in counts if count}
            if failing:
                self.check()
            if not busy:
                return
            yield item, total[len(flags) :] if weigh else None

    def _next(self, items: Iterator[T]) -> T | None:
        if self._fault:
            return None
        try:
            return next(items, None)
        except UserError as error:
            self._fault = error
            return None
