"""JSON that somebody else may have written: bounded in size and depth."""

import json
from typing import Any

MOST_BYTES = 64 << 20
DEEPEST = 64


def parsed(content: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ValueError: it is no JSON, larger than ``MOST_BYTES`` or nested deeper than ``DEEPEST``.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"has {len(content):,} bytes of JSON; at most {MOST_BYTES:,} are read")
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError as error:  # far deeper than any limit of ours
        raise ValueError(TOO_DEEP) from error
    level, depth = [value], 0
    while level := [each for part in level for each in _parts(part)]:
        depth += 1
        if depth == DEEPEST:
            raise ValueError(TOO_DEEP)
    return value


TOO_DEEP = f"has JSON nested deeper than {DEEPEST} levels"


def _parts(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
