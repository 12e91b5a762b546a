"""Durations as text, such as ``90s`` or ``1.5h``."""

import re

from tzmmoe.errors import ConfigError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)([smhdw])")


def seconds(text: str) -> float:
    """The seconds of a positive number followed directly by one of s, m, h, d and w.

    Raises:
        ConfigError: any other text; its path is empty.
    """
    match = FORM.fullmatch(text)
    length_s = float(match[1]) * SECONDS[match[2]] if match else 0.0
    if length_s > 0:
        return length_s
    hint = f"; did you mean '{text}s'?" if FORM.fullmatch(f"{text}s") else ""
    raise ConfigError.at(
        "",
        f"is {text!r}; give a positive number and a unit, such as 90s, 30m, 12h, 100d or 2w{hint}",
    )
