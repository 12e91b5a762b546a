"""Frames: rows that are given in memory, read as a file is and given back in the same container."""
