"""A folder that one process alone writes to."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tzmmoe.errors import CheckpointError

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others out of a folder while the body runs.

    The system takes the lock back when the process ends, however it ends; the file stays.

    Raises:
        CheckpointError: another process has it.
    """
    with (folder / NAME).open("a+") as file:
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
