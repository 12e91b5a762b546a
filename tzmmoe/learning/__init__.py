"""One training step: from losses to gradients to new parameters, in one process or several."""
