"""tzmmoe: multi-task ranking with multi-gate mixture-of-experts, from one config file."""

__version__ = "0.1.0"


def __getattr__(name: str):
    if name == "Pipeline":  # imports torch, so only on demand
        from tzmmoe.pipeline import Pipeline

        return Pipeline
    if name == "load":
        from tzmmoe.pipeline import load_run

        return load_run
    if name == "draft":
        from tzmmoe.init import draft

        return draft
    raise AttributeError(f"module 'tzmmoe' has no attribute {name!r}")
