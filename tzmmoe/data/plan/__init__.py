"""Which rows an epoch reads, in which order, and by which process."""
