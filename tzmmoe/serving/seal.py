"""Checksums of all files of an export, and a signature of them by a secret key.

``seal.json`` covers every other file. With a key it also holds the HMAC-SHA256 of the
checksums (RFC 2104): whoever lacks the key can write neither another file nor other checksums.
"""

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tzmmoe.errors import CheckpointError, ConfigError
from tzmmoe.serving.jsonfile import parsed
from tzmmoe.system.digest import inside, sha256
from tzmmoe.system.localpath import local

log = logging.getLogger(__name__)

CHECKSUMS = "seal.json"
KEY_BYTES = (16, 1 << 16)  # fewest and most


@dataclass(frozen=True)
class Key:
    """A secret. Its own text never shows it."""

    file: str
    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, file: str | Path | None) -> "Key | None":
        """The whole content of a file; None for None.

        Raises:
            ConfigError: it cannot be read, or its size is not within KEY_BYTES.
        """
        if file is None:
            return None
        path, (fewest, most) = Path(local(file, "--key_file")), KEY_BYTES
        try:
            if not path.is_file():  # a pipe or a device might never end
                raise FileNotFoundError("does not exist, or is not a file")
            size_bytes = path.stat().st_size
            secret = path.read_bytes() if size_bytes <= most else b""
        except OSError as error:
            raise ConfigError.at("--key_file", f"{path}: {error.strerror or error}") from error
        if not fewest <= size_bytes <= most:
            words = f"{path} has {size_bytes:,} bytes; give {fewest} to {most:,} random ones"
            raise ConfigError.at("--key_file", words)
        return cls(str(path), secret)

    def sign(self, sums: Mapping[str, str]) -> str:
        """In hexadecimal. Depends on the names and checksums, not on their order."""
        text = json.dumps(sorted(sums.items()), ensure_ascii=True)
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()


def write(folder: Path, key: Key | None) -> None:
    """Write the checksums of all files that a folder holds. Raises OSError."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    content = {"sha256": sums, "hmac_sha256": key and key.sign(sums)}
    (folder / CHECKSUMS).write_text(json.dumps(content, indent=1), encoding="utf-8")


def check(folder: Path, key: Key | None) -> dict[str, str] | None:
    """The checksums of an export, all of which are those of its files. None if it has none, as
    those of earlier versions.

    Raises:
        CheckpointError: a file is missing or has changed, or the key is not the one that the
            export was signed with.
        OSError, ValueError, LookupError, TypeError, AttributeError: of another form.
    """
    if not inside(folder, CHECKSUMS, CHECKSUMS).exists():
        if key:
            raise CheckpointError(f"{folder} is not signed, {_remedy(key)}")
        return None
    content = parsed(own_file(folder, CHECKSUMS).read_bytes())
    sums, signature = content["sha256"], content["hmac_sha256"]
    if key:
        if signature is None:
            raise CheckpointError(f"{folder} is not signed, {_remedy(key)}")
        if not hmac.compare_digest(key.sign(sums).encode(), signature.encode()):
            raise CheckpointError(
                f"{folder} was signed with another key than {key.file}, or changed since; check "
                "--key_file, or export it again"
            )
    elif signature is not None:
        log.warning(
            "%s is signed with a key; without --key_file this is not checked, and anybody may have "
            "written it",
            folder,
        )
    for name, expected in sums.items():
        if sha256(own_file(folder, name)) != expected:
            raise CheckpointError(f"{folder / name} is damaged; export again")
    return sums


def _remedy(key: Key) -> str:
    return f"but --key_file is {key.file}; export it with --key_file, or leave the flag out"


def own_file(folder: Path, name: str) -> Path:
    """The path of a file of an export.

    Raises:
        CheckpointError: it is not a regular file (reading a pipe might wait forever), or a link out
            of the folder.
    """
    file = inside(folder, name, CHECKSUMS)
    if not file.is_file():
        raise CheckpointError(f"{folder}: is not an export: {name} is missing, or not a file")
    return file
