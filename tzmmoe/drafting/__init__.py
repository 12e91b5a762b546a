"""Configs that this package writes: drafted from data files, or converted from another system."""
