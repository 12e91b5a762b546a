"""Files -> Arrow record batches, one file for each kind of file."""
