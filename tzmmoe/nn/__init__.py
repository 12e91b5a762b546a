"""Layers in plain torch: no config, no Arrow."""


def __getattr__(name: str):
    if name == "MMoE":  # imports torch, so only on demand
        from tzmmoe.nn.keras_moe.layer import MMoE

        return MMoE
    raise AttributeError(f"module 'tzmmoe.nn' has no attribute {name!r}")
