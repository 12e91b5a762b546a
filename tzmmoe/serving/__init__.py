"""Exported models: writing them, loading them, predicting with them."""
