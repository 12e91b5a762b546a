"""Losses of a tower. Importing the package enters all of them in ``LOSSES``."""

from tzmmoe.losses.base import LOSSES, LabelKind, Loss
from tzmmoe.registry import import_all

import_all(__name__, __path__)

__all__ = ["LOSSES", "LabelKind", "Loss"]
