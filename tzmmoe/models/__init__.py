"""Models. Importing the package enters all bodies in ``MODELS``."""

from tzmmoe.models.base import MODELS, Body
from tzmmoe.models.rank import RankModel
from tzmmoe.registry import import_all

import_all(__name__, __path__)

__all__ = ["MODELS", "Body", "RankModel"]
