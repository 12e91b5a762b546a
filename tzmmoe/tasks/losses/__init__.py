"""Losses of a tower. Importing the package enters all of them in ``LOSSES``."""

from tzmmoe.registry import import_all
from tzmmoe.tasks.losses.base import LOSSES, LabelKind, Loss

import_all(__name__, __path__)

__all__ = ["LOSSES", "LabelKind", "Loss"]
