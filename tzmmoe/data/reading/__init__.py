"""From files to Arrow record batches, a module for each kind of file."""
