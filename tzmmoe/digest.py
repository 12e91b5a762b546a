"""Checksums of files and texts."""

import hashlib
from pathlib import Path


def sha256(file: Path) -> str:
    """Of a file of any size."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
