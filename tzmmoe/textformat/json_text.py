"""JSON text -> its value: strictly, or with the damage that word processors do repaired.

Repaired outside strings: unusual blanks, full-width punctuation, curved quotes, a comma after the
last element, and the fence of a code block. Every character keeps its position, so that lines and
columns are those of the file.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from tzmmoe.errors import ConfigError, Fault

CURVED = "“”„‟＂"
BLANKS = "\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
WIDE = str.maketrans("，：｛｝［］", ",:{}[]")

FENCED = re.compile(r"\s*(```[^\n`]*)\n.*?([ \t]*```)\s*", re.DOTALL)
PARTS = re.compile(
    rf"""
    (?P<string> "(?:\\.|[^"\\])*" )
    | [{CURVED}] (?P<curved> (?:\\.|[^"\\{CURVED}])* ) [{CURVED}]
    | (?P<between> [^"{CURVED}]+ )
    """,
    re.VERBOSE | re.DOTALL,
)


def parse(text: str) -> Any:
    """The value of plain JSON. Raises ValueError: JSONDecodeError, with a line, if possible."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"one object has {name!r} {count} times; keep one")
    return dict(pairs)


def read(path: Path, flag: str) -> dict[str, Any]:
    """The object in a file that ``flag`` names. Raises ConfigError with line and column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        words = f"{path} is not UTF-8 text: {error}; save it as UTF-8"
        raise ConfigError.at(flag, words) from error
    except OSError as error:
        words = f"cannot read {path}: {error.strerror}; check the path"
        raise ConfigError.at(flag, words) from error
    try:
        value = parse(plain(text))
    except json.JSONDecodeError as error:
        words = f"column {error.colno}: is not JSON: {error.msg}"
        raise ConfigError([Fault("", words, where=f"{path}:{error.lineno}")]) from error
    except ValueError as error:
        raise ConfigError([Fault("", str(error), where=str(path))]) from error
    if not isinstance(value, dict):
        raise ConfigError([Fault("", "is not a JSON object; write {...}", where=str(path))])
    return value


def plain(text: str) -> str:
    """The text with its characters repaired to those of JSON."""
    fenced = FENCED.fullmatch(text)
    for group in (1, 2) if fenced else ():
        start, end = fenced.span(group)
        text = text[:start] + " " * (end - start) + text[end:]
    return PARTS.sub(_part, text)


def _part(match: re.Match) -> str:
    if match["string"] is not None:
        return match["string"]
    if match["curved"] is not None:
        return f'"{match["curved"]}"'
    between = re.sub(f"[{BLANKS}]", " ", match["between"]).translate(WIDE)
    return re.sub(r"([^\[{,:\s]\s*|^\s*),(?=\s*[}\]])", r"\1 ", between)
