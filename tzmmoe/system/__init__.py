"""The machine and its processes: devices, files that survive a crash, command lines."""
