"""JSON as documents have it -> its value.

Between the strings these are read as what they stand for: blanks of other kinds, full-width
punctuation, curved quotes, a comma after the last element, and the fence of a code block. Each
character stays in its place, so that lines and columns are those of the file.
"""

import json
import re
from pathlib import Path
from typing import Any

from tzmmoe.errors import ConfigError, Fault
from tzmmoe.textformat import objects

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


def read(path: Path, flag: str) -> dict[str, Any]:
    """The object in a file that ``flag`` names. Raises ConfigError with line and column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError.at(flag, f"{path} is no text in UTF-8: {error}") from error
    except OSError as error:
        raise ConfigError.at(flag, f"cannot read {path}: {error.strerror}") from error
    where, words = str(path), "is no object; write one: {...}"
    try:
        value = objects.parse(plain(text))
    except json.JSONDecodeError as error:
        where, words = f"{path}:{error.lineno}", f"column {error.colno}: is no JSON: {error.msg}"
        value = None
    except ValueError as error:
        words, value = str(error), None
    if not isinstance(value, dict):
        raise ConfigError([Fault("", words, where=where)])
    return value


def plain(text: str) -> str:
    """The text in JSON's own characters."""
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
