"""Metrics of a tower. Importing the package enters all of them in ``METRICS``."""

from tzmmoe.registry import import_all
from tzmmoe.tasks.metrics.base import METRICS, Metric

import_all(__name__, __path__)

__all__ = ["METRICS", "Metric"]
