"""Checksums of files and texts, and folders whose files are listed with them."""

import hashlib
from pathlib import Path

from tzmmoe.errors import CheckpointError


def sha256(file: Path) -> str:
    """Of a file of any size."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def inside(folder: Path, name: str, listing: str) -> Path:
    """A file that a ``listing`` names. Raises CheckpointError if it lies outside the folder, by its
    name or as a link."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise CheckpointError(f"{folder}: {listing} names {name!r}, outside its folder")
    file = folder / name
    if file.exists() and not file.resolve().is_relative_to(folder.resolve()):
        raise CheckpointError(f"{file} is a link to {file.resolve()}, outside its folder")
    return file
