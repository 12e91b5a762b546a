"""What changed since a checkpoint was written: its config, and the files that it has read."""
