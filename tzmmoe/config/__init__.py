"""Config text -> one complete, canonical message."""

from tzmmoe.config.load import Config, load
from tzmmoe.config.notes import notes

__all__ = ["Config", "load", "notes"]
