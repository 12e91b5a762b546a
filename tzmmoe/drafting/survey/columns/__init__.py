"""What each column of the files holds: counts, samples, buckets, and what it tells of the labels."""
