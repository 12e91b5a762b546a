"""Config -> objects. Below this, no module but ``config`` reads a message."""

from tzmmoe.build.files import delivery, reading
from tzmmoe.build.model import Built, build

__all__ = ["Built", "build", "delivery", "reading"]
