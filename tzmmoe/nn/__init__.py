"""Layers in plain torch: no config, no Arrow."""
