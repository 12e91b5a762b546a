"""One training step: losses to gradients to new parameters, in one process or several."""
