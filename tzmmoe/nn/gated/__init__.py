"""Layers in which learned weights scale features or networks, row by row."""
