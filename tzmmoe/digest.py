"""Checksums of files."""

import hashlib
from pathlib import Path


def sha256(file: Path) -> str:
    """Of a file of any size."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
