"""From words of the schema, and names of modules, to classes; from messages to plain values."""

from tzmmoe.registry.modules import Modules
from tzmmoe.registry.own_errors import OwnErrors
from tzmmoe.registry.values import Choice, fields
from tzmmoe.registry.words import Registry, import_all

__all__ = ["Choice", "Modules", "OwnErrors", "Registry", "fields", "import_all"]
