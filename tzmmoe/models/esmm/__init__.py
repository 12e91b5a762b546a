"""ESMM: its body, and its input of several feature groups."""

from tzmmoe.models.esmm.body import ESMM

__all__ = ["ESMM"]
