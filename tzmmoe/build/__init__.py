"""Config -> objects. On lower floors only ``config/`` and the models' rules see a message."""

from tzmmoe.build.features import check_constraints
from tzmmoe.build.files import delivery, reading
from tzmmoe.build.model import Built, build
from tzmmoe.build.rules import rules

__all__ = ["Built", "build", "check_constraints", "delivery", "reading", "rules"]
