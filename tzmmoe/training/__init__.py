"""Training and evaluation of a built model."""
