"""Config -> objects. Beyond this, nothing reads the config."""

from tzmmoe.build.files import delivery, reading
from tzmmoe.build.model import Built, build

__all__ = ["Built", "build", "delivery", "reading"]
