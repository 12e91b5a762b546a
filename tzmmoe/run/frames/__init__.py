"""Rows in memory in a run: whether they suit it, and predictions for them."""
