"""The time and the memory that a request may take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tzmmoe.errors import ConfigError, DataError, TimeLimitError
from tzmmoe.serving.service.limits import NAME


class Clock:
    """Runs from when it is made; ``timeout_s`` in seconds, None for ever."""

    def __init__(self, timeout_s: float | None) -> None:
        """Raises ConfigError."""
        is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
        if timeout_s is not None and not (is_number and timeout_s > 0):
            words = f"is {timeout_s!r}; give seconds above 0, or None for no limit"
            raise ConfigError.at("timeout_s", words)
        self._timeout_s = timeout_s
        self._begin = time.monotonic()

    def check(self, stage: str) -> None:
        """Raise TimeLimitError if the time is up after a stage."""
        passed = time.monotonic() - self._begin
        if self._timeout_s is not None and passed > self._timeout_s:
            raise TimeLimitError(
                f"{NAME}: time limit of {self._timeout_s:g} s reached after {stage}, which ended "
                f"{passed:.3f} s after the start; send fewer rows at a time, or raise timeout_s"
            )


@contextmanager
def memory_named(words: str) -> Iterator[None]:
    """Memory that runs out in the block raises DataError with these words."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise DataError(words) from error
    except RuntimeError as error:  # what torch raises on a CPU has no type of its own
        if "allocate memory" not in str(error):
            raise
        raise DataError(words) from error
