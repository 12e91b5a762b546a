"""What each section of the config demands, its faults and its notes, one file for each section.

Settings of a layer, loss, metric, feature or optimizer are checked where it is made, and those of a
model beside the model. ``build.rules()`` gathers all rules.
"""

from tzmmoe.config.rulebook import joined
from tzmmoe.registry import import_all

SECTIONS = joined(*(section.RULES for section in import_all(__name__, __path__)))
