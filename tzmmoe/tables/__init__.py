"""Embedding tables: their rows, where these lie, and the optimizers that update them."""
