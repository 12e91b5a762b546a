"""Data files -> a commented config that trains on them as it is."""
