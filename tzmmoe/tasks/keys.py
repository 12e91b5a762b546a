"""Checks of the keys of an evaluation by which a run chooses its best checkpoint or its end."""

from collections.abc import Collection, Mapping

from tzmmoe.errors import ConfigError, did_you_mean


def checked_key(
    path: str, key: str, natures: Mapping[str, bool | None], forced: bool | None = None
) -> bool:
    """Whether larger is better for a key of the evaluation; ``forced`` is the config's own word.

    Raises:
        ConfigError: there is no such key, or neither larger nor smaller is better.
    """
    if key not in natures:
        hint = did_you_mean(key, natures)
        words = f"{key!r} is not evaluated; choose from {', '.join(natures)}{hint}"
        raise ConfigError.at(path, words)
    larger = natures[key] if forced is None else forced
    if larger is None:
        words = f"neither larger nor smaller is better for {key!r}; choose another key"
        raise ConfigError.at(path, words)
    return larger


def check_served(path: str, key: str, natures: Collection[str], served: Collection[str]) -> None:
    """Raise ConfigError for a key of an auxiliary task: the checkpoint that suits it best may be
    worse for what is exported. ``served``: the keys of ``natures`` that are not of such tasks."""
    if key in natures and key not in served:
        words = f"{key!r} measures an auxiliary task, which is not exported; choose another key"
        raise ConfigError.at(path, f"{words}, or set export_config.auxiliary to true")
