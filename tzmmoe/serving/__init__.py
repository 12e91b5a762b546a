"""Exported models: writing and loading them, and scoring rows with them."""
