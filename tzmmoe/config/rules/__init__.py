"""What each section of the config demands, its faults and its notes, one file for each section.

Settings of a layer, loss, metric, feature or optimizer are checked where it is made, and those of a
model beside the model. ``build.rules()`` gathers all rules.
"""

from tzmmoe.config.rules import data, evaluation, features, model, training, values
from tzmmoe.config.rules.rules import Rules, joined

SECTIONS = joined(
    data.RULES, features.RULES, model.RULES, training.RULES, evaluation.RULES, values.RULES
)

__all__ = ["SECTIONS", "Rules", "joined"]
