"""From files to batches: reading, the plan of an epoch, encoding, and the loader."""
