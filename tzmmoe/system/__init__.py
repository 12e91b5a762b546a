"""The machine and its processes: devices, crash-safe files, checkpoints, command lines."""
