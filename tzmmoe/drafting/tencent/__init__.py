"""JSON jobs of Tencent's MMoE V2 -> a commented config, with a report of what became what."""
