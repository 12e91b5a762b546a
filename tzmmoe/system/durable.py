"""Files and folders that are complete or not there, and errors that name them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Aside:
    """A folder beside ``final`` to write into, which gets that name when all is written."""

    def __init__(self, final: Path) -> None:
        self.final = final
        self.path = final.parent / f".writing-{final.name}"

    def make(self) -> None:
        """Empty. Raises OSError."""
        self.remove()
        self.path.mkdir(parents=True)

    def commit(self) -> None:
        """Flush it and give it its name, which nothing but an empty folder may have then.

        Raises:
            OSError: it could not be written.
        """
        for part in (*self.path.rglob("*"), self.path):
            sync(part)
        self.path.rename(self.final)
        sync(self.final.parent)

    def remove(self) -> None:
        """What is left of it, if anything."""
        shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def written_aside(final: Path) -> Iterator[Path]:
    """A folder to write into. Leaving the block commits it; an error removes it.

    Raises:
        OSError: it could not be written.
    """
    aside = Aside(final)
    try:
        aside.make()
        yield aside.path
        aside.commit()
    finally:
        aside.remove()


def write_text(file: Path, text: str) -> None:
    """Replace a file at once.

    Raises:
        OSError: it could not be written, and is as it was.
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
    """Let an error of the system that names no file, as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def sync(path: Path) -> None:
    """Let a file's content, or a folder's names, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
