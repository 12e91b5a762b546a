"""Config text -> one complete, canonical message."""

from tzmmoe.config.load import Config, load

__all__ = ["Config", "load"]
