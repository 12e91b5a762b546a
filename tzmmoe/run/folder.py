"""``model_dir/train.log``: what a run logged, from before its model_dir was known to be right."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path

from tzmmoe.errors import CheckpointError, Interrupted, UserError
from tzmmoe.system import checkpoint


def newest(model_dir: Path, *, goes_on: bool) -> Path | None:
    """The checkpoint to go on from. Raises CheckpointError when there is one unasked."""
    found = checkpoint.find(model_dir)
    if found and not goes_on:
        raise CheckpointError(
            f"{model_dir} holds {found[-1].name}; pass --continue_train to go on from it, or "
            "name another --model_dir"
        )
    return found[-1] if found else None


def begun(model_dir: Path, *, goes_on: bool) -> Path | None:
    """As ``newest``, of a model_dir that no other run has at this moment; its checkpoints would be
    none to go on from. Raises CheckpointError if one has."""
    if model_dir.is_dir():
        with locked(model_dir):
            pass
    return newest(model_dir, goes_on=goes_on)


@contextmanager
def own(model_dir: Path, found: Path | None) -> Iterator[None]:
    """Keep other runs out of the model_dir, whose newest checkpoint is still ``found``.

    Raises:
        CheckpointError: another run has it, or wrote a checkpoint since.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    with locked(model_dir):
        if newest(model_dir, goes_on=True) != found:
            raise CheckpointError(f"{model_dir}: another run wrote a checkpoint meanwhile")
        checkpoint.clear_leftovers(model_dir)
        yield


LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others out of a folder while the body runs.

    The system takes the lock back when the process ends, however it ends; the file stays.

    Raises:
        CheckpointError: another process has it.
    """
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise CheckpointError(
                f"{folder} is in use by {file.read().strip() or 'another process'}; wait for it, "
                "or name another --model_dir"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


LOG = "train.log"
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
        file = logging.FileHandler(folder / LOG, encoding="utf-8")
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
