"""Metrics of a tower. Importing the package enters all of them in ``METRICS``."""

from tzmmoe.metrics.base import METRICS, Metric
from tzmmoe.registry import import_all

import_all(__name__, __path__)

__all__ = ["METRICS", "Metric"]
