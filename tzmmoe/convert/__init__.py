"""Jobs of other systems -> a commented config, with a report of what became what."""
