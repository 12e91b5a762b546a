"""State of a rewrite: its faults, and which of the user's paths became which."""

from dataclasses import dataclass, field

from google.protobuf.message import Message

from tzmmoe.errors import Faults, join
from tzmmoe.textformat.paths import is_set


@dataclass
class Rewriting:
    """``written``: {path of the canonical form: path that the user wrote}. ``keras``: the path of
    the first network that starts as Keras's do, "" if there is none."""

    faults: Faults
    written: dict[str, str] = field(default_factory=dict)
    keras: str = ""

    def take(self, message: Message, path: str, alias: str, name: str) -> bool:
        """Whether the caller should move ``alias`` of a message to ``name``; both are a fault."""
        if not is_set(message, alias):
            return False
        self.written[join(path, name)] = join(path, alias)
        if is_set(message, name):
            self.faults.add(join(path, alias), f"is set, and so is {name}; keep one")
            message.ClearField(alias)
            return False
        return True
