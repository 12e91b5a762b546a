"""What is found while a config is rewritten: faults, and the user's own paths."""

from dataclasses import dataclass, field

from google.protobuf.message import Message

from tzmmoe.errors import Faults, join


@dataclass
class Rewriting:
    """Collects ``faults``, and ``written``: each path that is set, with the path that the user
    wrote. ``keras``: the path of the first network that starts as Keras's do."""

    faults: Faults
    written: dict[str, str] = field(default_factory=dict)
    keras: str = ""

    def take(self, message: Message, path: str, alias: str, name: str) -> bool:
        """Whether ``message`` has ``alias``, which becomes ``name``; both are a fault."""
        is_list = message.DESCRIPTOR.fields_by_name[alias].is_repeated
        given = bool(getattr(message, alias)) if is_list else message.HasField(alias)
        if not given:
            return False
        self.written[join(path, name)] = join(path, alias)
        field = message.DESCRIPTOR.fields_by_name[name]
        if bool(getattr(message, name)) if field.is_repeated else message.HasField(name):
            self.faults.add(join(path, alias), f"is set, and so is {name}; keep one")
            message.ClearField(alias)
            return False
        return True
