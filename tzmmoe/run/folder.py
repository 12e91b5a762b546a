"""A run's model_dir: whether it may be written, what is in it to go on from, and its log.

Only one run has a model_dir at a time. Its log, ``train.log``, holds what was logged from before
the model_dir was known to be right.
"""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path

from tzmmoe.errors import CheckpointError, Faults, Interrupted, UserError
from tzmmoe.run import results
from tzmmoe.run.ends import Best
from tzmmoe.system import checkpoint


def check(model_dir: Path, faults: Faults) -> None:
    """Add a fault when it cannot be made, or not be written."""
    existing = next(path for path in (model_dir, *model_dir.parents) if path.exists())
    if not existing.is_dir():
        faults.add("model_dir", f"{existing} is a file; choose a folder")
    elif not os.access(existing, os.W_OK):
        faults.add("model_dir", f"{existing} is not writable; choose another folder")


def newest(model_dir: Path, *, goes_on: bool) -> Path | None:
    """The checkpoint to go on from. Raises CheckpointError when there is one unasked."""
    found = checkpoint.find(model_dir)
    if found and not goes_on:
        raise CheckpointError(
            f"{model_dir} already holds {found[-1].name}; pass --continue_train to continue from "
            "it, or choose another --model_dir"
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
            raise CheckpointError(
                f"{model_dir}: another run wrote a checkpoint just now; try again"
            )
        checkpoint.clear_leftovers(model_dir)
        yield


def best(model_dir: Path, watched: Best | None) -> Path:
    """Of the checkpoints still there, the one whose evaluation was the best.

    Raises:
        CheckpointError: none of them has an evaluation, or the key was undefined in all.
    """
    there = checkpoint.by_step(model_dir)
    lines = {line["global_step"]: line for line in results.read(model_dir / results.TRAINING)}
    for step in sorted(there.keys() & lines.keys()):  # a step's last line counts
        if watched and watched.key in lines[step]:
            watched.note(step, lines[step])
    if watched and watched.waited and watched.step is None:
        raise CheckpointError(
            f"{model_dir}: {watched.key} is undefined in every evaluation of a checkpoint there, "
            "so there is no best one; set export_config.best_exporter_metric to another metric, or "
            'export_config.exporter_type: "latest"'
        )
    if watched is None or watched.step is None:
        raise CheckpointError(
            f"{model_dir}: no checkpoint there has an evaluation in {results.TRAINING}, so none is "
            'the best; set export_config.exporter_type: "latest"'
        )
    return there[watched.step]


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
                "or choose another --model_dir"
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
