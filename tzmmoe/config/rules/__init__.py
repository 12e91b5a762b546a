"""The rules of each section of the config: its faults and notes, one file per section.

The settings of a layer, loss, metric, feature or optimizer are checked by its class, and those of a
model by the rules beside it. ``build.rules()`` gathers all rules.
"""

from tzmmoe.config.rulebook import joined
from tzmmoe.registry import import_all

SECTIONS = joined(*(section.RULES for section in import_all(__name__, __path__)))
