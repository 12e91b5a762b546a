"""What features and towers may be called."""

import re

from tzmmoe.errors import ConfigError


def check_name(field: str, name: str) -> None:
    """Raise ConfigError unless the name can be part of a column's and a tensor's name."""
    if not re.fullmatch(r"[\w\-]+", name):
        raise ConfigError.at(field, f"is {name!r}; use letters, digits, _ and -")
