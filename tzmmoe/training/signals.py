"""Signals that ask a run to stop."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

ASKING = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """``came``: the number of the signal that came, or 0. ``answer``: the line that tells what
    happens then."""

    def __init__(self, answer: Callable[[], str]) -> None:
        self.came = 0
        self._answer = answer

    @contextmanager
    def caught(self) -> Iterator[None]:
        """In the body the first SIGINT or SIGTERM only asks; a second one ends the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.getsignal(each) for each in ASKING}

        def ask(signum: int, frame: object) -> None:
            self.came = signum
            signal.signal(signum, before[signum])
            log.warning("%s", self._answer())

        for each in ASKING:
            signal.signal(each, ask)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
