"""Which rows an epoch reads, in what order, and in which process."""
