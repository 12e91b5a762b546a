"""MMoE V2, MMoE with a wide side: its body, its wide side and its rules."""

from tzmmoe.models.mmoe_v2.body import MMoEV2

__all__ = ["MMoEV2"]
