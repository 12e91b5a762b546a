"""Environment variables; no other module reads or sets them."""

import os


def variable(name: str) -> str | None:
    """The value of a variable; None if it is unset or empty."""
    return os.environ.get(name) or None


def set_default(name: str, value: str) -> None:
    """Set a variable unless it already has a value."""
    os.environ.setdefault(name, value)


def number(name: str, default: int) -> int:
    """The integer value of a variable that torchrun sets, such as RANK or WORLD_SIZE."""
    return int(variable(name) or default)
