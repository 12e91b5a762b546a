"""Checksums of files and texts, and safe access to files that a list of checksums names."""

import hashlib
from pathlib import Path

from tzmmoe.errors import CheckpointError


def sha256(file: Path) -> str:
    """The checksum of a file of any size, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def inside(folder: Path, name: str, listing: str) -> Path:
    """The path of a file that a ``listing`` names.

    Raises:
        CheckpointError: it lies outside the folder, by its name or through a link.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise CheckpointError(f"{folder}: {listing} names {name!r}, which is outside its folder")
    file = folder / name
    if file.exists() and not file.resolve().is_relative_to(folder.resolve()):
        raise CheckpointError(f"{file} is a link to {file.resolve()}, which is outside its folder")
    return file
