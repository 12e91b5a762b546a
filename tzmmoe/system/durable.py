"""Files and folders that are either complete or absent, and errors that name them."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tzmmoe.errors import ConfigError


class StagedFolder:
    """A temporary folder next to ``final``, renamed to it once everything is written."""

    def __init__(self, final: Path) -> None:
        self.final = final
        self.path = final.parent / f".writing-{final.name}"
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
        shutil.rmtree(self.path, ignore_errors=True)
        remove_empty(self._made)


@contextmanager
def written_aside(final: Path) -> Iterator[Path]:
    """A folder to write into: committed when the block ends, removed if it raises.

    Raises:
        OSError: the folder could not be written.
    """
    staged = StagedFolder(final)
    try:
        staged.make()
        yield staged.path
        staged.commit()
    finally:
        staged.remove()


def write_text(file: Path, text: str) -> None:
    """Replace the content of a file atomically.

    Raises:
        OSError: the file could not be written; it keeps its old content.
    """
    aside = file.with_name(f".writing-{file.name}")
    with naming(file):
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError that names no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


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
    if isinstance(reason, OSError) and reason.errno:
        reason = os.strerror(reason.errno)
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
