"""Names and forms of other systems -> the canonical form; one file per system."""
