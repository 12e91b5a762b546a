"""Paths that name something on this machine."""

import os.path
import re
from urllib.parse import unquote, urlsplit

from tzmmoe.errors import ConfigError

MEMORY = "memory:"  # begins the names of frames, which stand where paths do
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_frame(path: str) -> bool:
    """Whether a path is the name of a frame in memory, such as ``memory:train``."""
    return path.startswith(MEMORY)


def absolute(path: str) -> str:
    """The absolute path of a file; the name of a frame as it is."""
    return path if is_frame(path) else os.path.abspath(path)


def local(path: str | os.PathLike, where: str) -> str:
    """A path with ``~`` expanded and ``file://`` taken off.

    ``where``: the field or flag that gives the path.

    Raises:
        ConfigError: the path has another scheme, such as s3://, which nothing here can write to, or
            holds a NUL character.
    """
    try:
        text = os.fspath(path)
    except TypeError as error:
        words = f"is a {type(path).__name__}; give the path of a file or folder"
        raise ConfigError.at(where, words) from error
    if "\0" in text:
        raise ConfigError.at(where, f"is {text!r}; a path holds no NUL character")
    scheme = SCHEME.match(text)
    if not scheme:
        return os.path.expanduser(text)
    parts = urlsplit(text)
    if parts.scheme.lower() != "file":
        words = f"is {text!r}, but {scheme[0]} is not supported; give a path on this machine"
        raise ConfigError.at(where, words)
    if parts.netloc not in ("", "localhost"):
        raise ConfigError.at(
            where, f"is {text!r}, on the host {parts.netloc!r}; write file:/// for this machine"
        )
    return unquote(text.removeprefix(scheme[0]).removeprefix(parts.netloc))
