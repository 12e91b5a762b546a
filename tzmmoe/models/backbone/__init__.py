"""A body of blocks, which form a directed acyclic graph."""

from tzmmoe.models.backbone.body import Backbone

__all__ = ["Backbone"]
