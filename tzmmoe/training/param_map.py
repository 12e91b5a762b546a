"""The file that says which parameters fine-tuning takes from where."""

from pathlib import Path

from tzmmoe.errors import ConfigError


def read_map(path: Path) -> dict[str, str]:
    """Lines ``name here<TAB>name there``."""
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.at("train_config.fine_tune_ckpt_param_map", str(error)) from error
    pairs = [line.split() for line in lines]
    for line, pair in zip(lines, pairs, strict=True):
        if len(pair) != 2:
            raise ConfigError.at(
                "train_config.fine_tune_ckpt_param_map",
                f"{path}: {line!r} is not a name here, a tab, and a name there",
            )
    return dict(pairs)
