"""Which files a path names."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NoReturn

from tzmmoe.errors import DataError

log = logging.getLogger(__name__)

BRACES = re.compile(r"\{([^{}]*)\}")  # the innermost
COMMA = re.compile(r"(?<!\\),")
WILD = re.compile(r"[*?\[{]")
HIDDEN = (".", "_")  # how names begin that jobs and systems leave beside data


def listed(path: str) -> list[str]:
    """The paths in a list by commas. A comma after a backslash, within braces, or in a file that
    exists does not separate."""
    if os.path.exists(path):
        return [path]
    parts, depth = [""], 0
    for piece in re.split(r"(\\,|[,{}])", path):
        depth = max(0, depth + (piece == "{") - (piece == "}"))
        if piece == "," and not depth:
            parts.append("")
        else:
            parts[-1] += "," if piece == "\\," and not depth else piece
    return [part.strip() for part in parts]


def is_pattern(path: str) -> bool:
    return bool(WILD.search(path))


def in_folder(folder: str) -> Iterator[str]:
    """All files below a folder, by name, without hidden ones."""
    found = [
        os.path.join(place, name)
        for place in _folders(folder)
        for name in os.listdir(place)
        if not is_hidden(name)
    ]
    yield from sorted(file for file in found if os.path.isfile(file))


def matching(pattern: str) -> list[str]:
    """Files and folders that fit a pattern, by name; hidden ones only where it asks for such."""
    root = "/" if pattern.startswith("/") else ""
    return sorted(
        {
            place
            for plain in _without_braces(pattern)
            for place in _fitting(root, [part for part in plain.split("/") if part])
        }
    )


def is_hidden(name: str) -> bool:
    return name.startswith(HIDDEN) or name.endswith(".crc")


def once(files: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The files without those that are another one under a second name, and these, each with the
    first name."""
    names: dict[tuple[int, int], str] = {}
    again = []
    for file in files:
        status = os.stat(file)
        first = names.setdefault((status.st_dev, status.st_ino), file)
        if first != file:
            again.append((file, first))
    return list(names.values()), again


def _fitting(place: str, parts: Sequence[str]) -> Iterator[str]:
    """What fits the parts of a pattern below a folder. A part that is a name is that name."""
    if not parts:
        yield place
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        for folder in _folders(place or "."):
            below = folder if place else folder.removeprefix(".").removeprefix("/")
            yield from _fitting(below, rest or ["*"])
        return
    if os.path.lexists(os.path.join(place, part)):
        yield from _fitting(os.path.join(place, part), rest)
        return
    if not is_pattern(part) or not os.path.isdir(place or "."):
        return
    for name in os.listdir(place or "."):
        if fnmatchcase(name, part) and (is_hidden(part) or not is_hidden(name)):
            yield from _fitting(os.path.join(place, name), rest)


def _folders(folder: str) -> Iterator[str]:
    """A folder and those below it, without hidden ones; one that links lead back to only once."""
    seen: dict[tuple[int, int], str] = {}
    for place, folders, _ in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(place)
        first = seen.setdefault((status.st_dev, status.st_ino), place)
        if first != place:
            log.warning("%s is the same folder as %s, and is searched once", place, first)
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield place


def _refuse(error: OSError) -> NoReturn:
    """os.walk would leave the folder out, and its rows."""
    words = f"{error.filename}: cannot be searched: {error.strerror}"
    raise DataError(f"{words}; make it readable, or name the other files") from error


def _without_braces(pattern: str) -> Iterator[str]:
    """The patterns that one with {a,b} stands for; choices may hold braces of their own."""
    braces = BRACES.search(pattern)
    if not braces:
        yield pattern.replace("\\,", ",")
        return
    for choice in COMMA.split(braces[1]):
        yield from _without_braces(pattern[: braces.start()] + choice + pattern[braces.end() :])
