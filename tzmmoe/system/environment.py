"""The environment of the process, read and written here alone."""

import os


def variable(name: str) -> str | None:
    """The value of an environment variable; None when it is not set, or empty."""
    return os.environ.get(name) or None


def set_default(name: str, value: str) -> None:
    """Set a variable unless it is set."""
    os.environ.setdefault(name, value)


def number(name: str, default: int) -> int:
    """The value of a variable such as torchrun sets: RANK, WORLD_SIZE, LOCAL_RANK."""
    return int(variable(name) or default)
