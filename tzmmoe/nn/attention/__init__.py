"""Layers that weigh places of a sequence, or tasks, by how well they match a query."""
