"""Functions of inputs as a config writes them: parsed, checked and built, never run by Python."""
