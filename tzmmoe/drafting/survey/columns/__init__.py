"""What each column holds: counts, samples, buckets, and what it tells of the labels."""
