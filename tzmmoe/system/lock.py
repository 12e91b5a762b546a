"""Locks on files, which the system releases when a process ends, however it ends."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tzmmoe.errors import UserError

MODE = 0o666  # less the process's umask


class BusyError(UserError):
    """A lock is held; the message says by whom."""


class Lock:
    """Holds the file ``path`` exclusively until ``release``; creates it if there is none.

    Raises:
        BusyError: another process, or another lock of this one, holds it.
        OSError: the file cannot be created, or is a link, which is not followed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _locked(path)
        with suppress(OSError):  # a full disk is no reason not to work
            os.ftruncate(self._file, 0)
            os.write(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def names_file(self) -> bool:
        """Whether the path still names the file that is held, and no other or none."""
        return _names(self.path, self._file)

    def release(self, *, remove: bool = False) -> None:
        """Let go. ``remove``: delete the file too, unless the path names another by now."""
        if remove and self.names_file():
            self.path.unlink()
        os.close(self._file)


def _locked(path: Path) -> int:
    """A descriptor of the file that the path names, locked."""
    while True:
        descriptor = opened_itself(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(path, descriptor):  # else its holder has deleted it since it was opened
                return descriptor
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise BusyError(holder or "another process") from error
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def opened_itself(path: Path, flags: int) -> int:
    """A descriptor of a file. Raises OSError, also if a link stands in its place."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        words = "is a link, and what it points to must not be overwritten; remove the link"
        raise OSError(errno.ELOOP, words, str(path)) from error


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class Hold:
    """Keeps a file that is being read from being deleted by those who ask ``unheld`` first. Any
    number of readers may hold it. Without effect where the file system has no locks."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be opened, or was deleted just now."""
        self._file = path.open("rb", buffering=0)
        with suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_SH)
        if not _names(path, self._file.fileno()):
            self.release()
            raise FileNotFoundError(path)

    def release(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        if file := getattr(self, "_file", None):
            file.close()


@contextmanager
def unheld(path: Path) -> Iterator[bool]:
    """Whether nobody holds a file; nobody gets hold of it during the block."""
    with ExitStack() as opened:
        try:
            file = opened.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # no such file, or no locks
            pass
        yield True
