"""Folders that are complete or not there, also after a loss of power."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(final: Path) -> Iterator[Path]:
    """A folder beside ``final`` to write into. Leaving the block flushes it and gives it its name,
    which nothing but an empty folder may have then; an error removes it.

    Raises:
        OSError: it could not be written.
    """
    aside = final.parent / f".writing-{final.name}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        for part in (*aside.rglob("*"), aside):
            sync(part)
        aside.rename(final)
        sync(final.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sync(path: Path) -> None:
    """Let a file's content, or a folder's names, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
