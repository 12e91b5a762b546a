"""What differs between the config that a checkpoint holds and the one that is given."""

from tzmmoe.build.changes.compare import Change, changes
from tzmmoe.build.changes.kinds import Kind

__all__ = ["Change", "Kind", "changes"]
