"""Files and folders that are either complete or absent, and errors that name them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StagedFolder:
    """A temporary folder next to ``final``, renamed to it once everything is written."""

    def __init__(self, final: Path) -> None:
        self.final = final
        self.path = final.parent / f".writing-{final.name}"

    def make(self) -> None:
        """Create the folder, empty. Raises OSError."""
        self.remove()
        self.path.mkdir(parents=True)

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
        """Delete the temporary folder if it still exists."""
        shutil.rmtree(self.path, ignore_errors=True)


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
