"""What protects a service: limits of size and time, and rows that fail alone."""
