"""Config text -> one complete, canonical message, and the rules that it must keep."""

from tzmmoe.errors import NO_SCHEMA

try:
    from tzmmoe.config.load import Config, load
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("tzmmoe.protos"):
        raise
    raise ModuleNotFoundError(NO_SCHEMA, name=error.name) from error

__all__ = ["Config", "load"]
