"""Tasks: what towers learn and how that is measured."""
