"""Folders that are complete or not there, also after a loss of power."""

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


def sync(path: Path) -> None:
    """Let a file's content, or a folder's names, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
