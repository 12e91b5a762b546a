"""Config -> objects. Below this, no module but ``config`` reads a message."""

from tzmmoe.build.constraints import check_constraints
from tzmmoe.build.features import feature_notes
from tzmmoe.build.files import delivery, reading
from tzmmoe.build.model import Built, build

__all__ = ["Built", "build", "check_constraints", "delivery", "feature_notes", "reading"]
