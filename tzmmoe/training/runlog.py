"""``model_dir/train.log``: what a run logged, from before its model_dir was known to be right."""

import logging
from contextlib import suppress
from logging.handlers import MemoryHandler
from pathlib import Path

from tzmmoe.errors import Interrupted, UserError

NAME = "train.log"
LINE = "%(asctime)s %(levelname)s %(message)s"
HELD = 10_000  # lines that wait for the folder


class RunLog:
    """Holds the lines of the block until ``open`` tells the folder; then each goes to its file.

    Lines are those that the process logs: all of a command's, and of a program's what its own level
    lets pass. The error that ends the block is the last line.
    """

    def __init__(self) -> None:
        self._handler = MemoryHandler(HELD, flushLevel=logging.CRITICAL + 1)
        self._logger = logging.getLogger("tzmmoe")

    def open(self, folder: Path) -> None:
        """Write the lines to ``folder``/train.log, after those of earlier runs."""
        file = logging.FileHandler(folder / NAME, encoding="utf-8")
        file.setFormatter(logging.Formatter(LINE))
        file.handleError = lambda record: None  # a full disk is told by what matters more
        self._handler.setTarget(file)
        self._handler.flush()
        self._handler.capacity = 1

    def __enter__(self) -> "RunLog":
        self._logger.addHandler(self._handler)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self._logger.removeHandler(self._handler)
        file = self._handler.target
        if file is None:
            return
        if error is not None:
            is_ours = not isinstance(error, (UserError, Interrupted, KeyboardInterrupt))
            trace = (kind, error, error.__traceback__) if is_ours else None
            words = str(error) or kind.__name__
            self._handler.handle(
                logging.LogRecord("tzmmoe", logging.ERROR, "", 0, words, None, trace)
            )
        with suppress(OSError):
            self._handler.close()
            file.close()
