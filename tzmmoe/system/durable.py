"""Files and folders that are either complete or absent, and errors that name them.

What is being written has a temporary name next to the final one, ``.writing-NAME.`` with the
process's number and a random one. Nothing here follows a link that stands where a file is created.
"""

import fcntl
import glob
import itertools
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from tzmmoe.errors import ConfigError
from tzmmoe.system.environment import SIGNALS
from tzmmoe.system.lock import Lock, opened_itself


def aside(final: Path) -> Path:
    """A temporary name that no other writer uses, in the folder of ``final``."""
    return final.with_name(f".writing-{final.name}.{os.getpid()}-{secrets.token_hex(4)}")


def unused(path: Path) -> Path:
    """The path, with a number added to its name if there is something already."""
    names = itertools.chain([path.name], (f"{path.name}-{n}" for n in itertools.count(2)))
    return next(p for p in map(path.with_name, names) if not os.path.lexists(p))


def leftovers(final: Path) -> list[Path]:
    """What writers of ``final`` have not finished, whether they are at work or killed."""
    return list(final.parent.glob(f".writing-{glob.escape(final.name)}.*"))


@contextmanager
def claimed(final: Path) -> Iterator[Path]:
    """A temporary name for what will be ``final``, which nobody else writes during the block.

    What is left under that name when the block ends is deleted, and so are folders that were made
    in vain, and what killed writers have left.

    Raises:
        BusyError: somebody else writes it.
        OSError: the folder cannot be written.
    """
    undo = ExitStack()
    try:
        with SIGNALS.held():
            undo.callback(remove_empty, make_folder(final.parent))
            lock = Lock(final.with_name(f".writing-{final.name}.lock"))
            undo.callback(lock.release, remove=True)
            own = aside(final)
            undo.callback(remove, own)
            for left in leftovers(final):
                if left != lock.path:
                    remove(left)
        yield own
    finally:
        with SIGNALS.held():
            undo.close()


class StagedFolder:
    """A folder with a temporary name, renamed to ``final`` once everything is written.

    ``path``: its name; by default one that all processes of a run know, who have ``final``'s folder
    to themselves.
    """

    def __init__(self, final: Path, path: Path | None = None) -> None:
        self.final = final
        self.path = path or final.parent / f".writing-{final.name}"
        self._made: Sequence[Path] = ()

    def make(self) -> None:
        """Create the folder, empty. Raises OSError."""
        self.remove()
        self._made = make_folder(self.final.parent)
        self.path.mkdir()

    def commit(self) -> None:
        """Flush the content and rename the folder. ``final`` must not exist, or be an empty folder.

        Raises:
            OSError: the folder could not be written.
        """
        # Content first, then the rename, then the parent's list of names: after a loss of power the
        # name can never stand for half-written files.
        for part in (*self.path.rglob("*"), self.path):
            sync(part)
        self.path.rename(self.final)
        sync(self.final.parent)

    def remove(self) -> None:
        """Delete the temporary folder if it still exists, and those that were made for it."""
        remove(self.path)
        remove_empty(self._made)


@contextmanager
def written_aside(final: Path) -> Iterator[Path]:
    """A folder to write into: committed when the block ends, removed if it raises.

    Raises:
        BusyError: somebody else writes it.
        OSError: the folder could not be written.
    """
    with claimed(final) as path:
        staged = StagedFolder(final, path)
        staged.make()
        yield staged.path
        staged.commit()


def put(written: Path, final: Path) -> None:
    """Flush a file and give it its final name, in place of any file there. Raises OSError."""
    sync(written)
    os.replace(written, final)
    sync(final.parent)


def write_text(file: Path, text: str) -> None:
    """Replace the content of a file atomically.

    Raises:
        OSError: the file could not be written; it keeps its old content.
    """
    own = aside(file)
    with naming(file):
        try:
            with own.open("x", encoding="utf-8") as new:
                new.write(text)
            put(own, file)
        finally:
            remove(own)


def opened_to_append(file: Path) -> TextIO:
    """A UTF-8 text file. Raises OSError, also if it is a link."""
    descriptor = opened_itself(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return os.fdopen(descriptor, "a", encoding="utf-8")


@contextmanager
def appending(file: Path) -> Iterator[BinaryIO]:
    """A file to read, mend and append to, for which other processes wait.

    Raises:
        OSError: the file could not be written, or is a link.
    """
    descriptor = opened_itself(file, os.O_RDWR | os.O_CREAT)
    with naming(file), os.fdopen(descriptor, "r+b") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield opened


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError that names no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def remove(path: Path) -> None:
    """Delete a file, a folder, or a link but not what it points to, as far as possible."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, so that it survives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those around it; the ones that were missing. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove what ``make_folder`` made, as far as nothing is in it."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def unwritable(path: str | Path, reason: object) -> str:
    """What is said of an output that cannot be written. ``reason``: an error, or words."""
    if isinstance(reason, OSError) and reason.strerror:
        reason = reason.strerror
    return f"{path} cannot be written: {reason}; choose another path"


def check_writable(path: str | Path, where: str, *, is_folder: bool = False) -> None:
    """Refuse an output that cannot be written, before there is anything to write. The system may
    still refuse what looks possible.

    Raises:
        ConfigError: at ``where``, a flag or field.
    """
    path = Path(path)
    existing = next((p for p in (path, *path.parents) if os.path.exists(p)), Path())
    if not existing.is_dir() and (existing != path or is_folder):
        raise ConfigError.at(where, unwritable(path, f"{existing} is a file, not a folder"))
    folder = existing if existing.is_dir() else existing.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError.at(where, unwritable(path, f"the folder {folder} is read-only"))
