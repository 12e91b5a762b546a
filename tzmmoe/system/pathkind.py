"""What lies at a path, for messages about a path of another kind than was expected."""

from pathlib import Path

DATA = (".parquet", ".pq", ".csv", ".tsv", ".txt")


def kind_of(path: Path) -> str:
    """``a model_dir``, ``a checkpoint``, ``an export``, ``a config``, ``a data file``, ``a file``,
    ``a folder``; empty if there is nothing."""
    if path.is_dir():
        from tzmmoe.system.checkpoint import find, is_checkpoint  # and torch, which takes a second

        if is_checkpoint(path):
            return "a checkpoint"
        if find(path):
            return "a model_dir"
        return "an export" if (path / "signature.json").is_file() else "a folder"
    if not path.exists():
        return ""
    if path.suffix == ".config":
        return "a config"
    return "a data file" if path.suffix in DATA else "a file"


def is_what(path: Path) -> str:
    """``is a model_dir``, or ``does not exist``."""
    kind = kind_of(path)
    return f"is {kind}" if kind else "does not exist"


def not_a_config(path: Path) -> str:
    """Of a folder, or data, that was given as a config: what to give instead."""
    kind = kind_of(path)
    if kind in ("a model_dir", "a checkpoint"):
        return f"{path} is {kind}; choose {path / 'pipeline.config'}"
    if kind == "an export":
        return f"{path} is an export; choose a config, or pass --saved_model_dir {path} to predict"
    return f"{path} {is_what(path)}; choose a file with a config"


def not_an_export(path: Path, *, in_python: bool) -> str:
    """Of a path that was given as an export: what to give instead, as flags of predict or as calls
    in Python."""
    kind, exporter = kind_of(path), "Pipeline.export" if in_python else "tzmmoe.export"
    remedy = f"choose a folder that {exporter} wrote"
    if not kind:
        return f"{path}: does not exist, so it is not an export; {remedy}"
    config = str(path if kind == "a config" else path / "pipeline.config")
    is_trained = kind in ("a model_dir", "a checkpoint")
    if in_python and (is_trained or kind == "a config"):
        chosen = f", checkpoint_path={str(path)!r}" if is_trained else ""
        remedy = f"export it: Pipeline.load({config!r}).export(FOLDER{chosen})"
    elif is_trained:
        remedy = f"export it, or pass --pipeline_config {config} --checkpoint_path {path} instead"
    elif kind == "a config":
        remedy = f"pass --pipeline_config {path} instead"
    what = "a folder without signature.json" if kind == "a folder" else kind
    return f"{path}: is {what}, not an export; {remedy}"


def no_checkpoint(path: Path, flags: str) -> str:
    """Of a path in which a checkpoint was expected. ``flags`` are those that name it."""
    kind = kind_of(path)
    what = "is an empty folder" if kind == "a folder" and not any(path.iterdir()) else is_what(path)
    return f"{path}: no checkpoint found: it {what}; train first, or choose another {flags}"
