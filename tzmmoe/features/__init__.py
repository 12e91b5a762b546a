"""Features. Importing the package enters all of them in ``FEATURES``."""

from tzmmoe.features.base import FEATURES, Feature, FeatureSpec, ordered
from tzmmoe.features.shared import FeatureSettings, check_shared
from tzmmoe.registry import import_all

import_all(__name__, __path__)

__all__ = ["FEATURES", "Feature", "FeatureSettings", "FeatureSpec", "check_shared", "ordered"]
