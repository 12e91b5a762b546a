"""Which files a path names."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

COMMA = re.compile(r"(?<!\\),(?![^{}]*\})")  # neither escaped nor within braces
BRACES = re.compile(r"\{([^{}]*)\}")
WILD = re.compile(r"[*?\[{]")
HIDDEN = (".", "_")  # how names begin that jobs and systems leave beside data


def listed(path: str) -> list[str]:
    """The paths in a list by commas. A comma after a backslash, or in a file that exists, does not
    separate."""
    if os.path.exists(path):
        return [path]
    return [part.strip().replace("\\,", ",") for part in COMMA.split(path)]


def is_pattern(path: str) -> bool:
    return bool(WILD.search(path))


def in_folder(folder: str) -> Iterator[str]:
    """All files below a folder, by name, without hidden ones. A folder that links lead back to is
    searched once."""
    seen: set[tuple[int, int]] = set()
    found: list[str] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found += [os.path.join(place, name) for name in files if not is_hidden(name)]
    yield from sorted(file for file in found if os.path.isfile(file))


def matching(pattern: str) -> list[str]:
    """Files and folders that fit a pattern, by name; hidden ones only if it asks for such."""
    asked = {part[0] for part in pattern.split("/") if part.startswith(HIDDEN)}
    found: set[str] = set()
    for plain in _without_braces(pattern):
        fixed = len(str(_fixed(plain)))
        for place in glob.glob(plain, recursive=True):
            below = Path(place[fixed:]).parts
            if not any(is_hidden(part) and part[0] not in asked for part in below):
                found.add(place)
    return sorted(found)


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


def _fixed(pattern: str) -> Path:
    """The folder that a pattern searches."""
    parts = Path(pattern).parts
    number = next((n for n, part in enumerate(parts) if WILD.search(part)), len(parts))
    return Path(*parts[:number])


def _without_braces(pattern: str) -> Iterator[str]:
    """The patterns that one with {a,b} stands for."""
    pieces = BRACES.split(pattern)
    choices = [piece.split(",") if n % 2 else [piece] for n, piece in enumerate(pieces)]
    for chosen in product(*choices):
        yield "".join(chosen)
