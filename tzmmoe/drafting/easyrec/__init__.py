"""Pipelines of EasyRec -> a commented config, with a report of what became what."""
