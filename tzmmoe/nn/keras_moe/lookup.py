"""What an argument of a Keras layer means: None, a name, a config dict, a class or a callable.

As ``get`` of keras.initializers, regularizers, constraints and activations, Keras 3.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from tzmmoe.errors import ConfigError, did_you_mean

Makers = Mapping[str, Callable[..., Callable]]

# Keras also writes where a class lies and under which name it was registered.
DICT_KEYS = {"class_name", "config", "module", "registered_name", "build_config"}
LAYER_KEYS = {"name", "trainable", "dtype"}  # in the config of any layer; activations lack them


def by_names(*classes: type) -> dict[str, type]:
    """Classes by their names and by those in snake case, such as MaxNorm and max_norm."""
    snake = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", c.__name__).lower(): c for c in classes}
    return snake | {c.__name__: c for c in classes}


def look_up(identifier: object, makers: Makers) -> Callable | None:
    """The callable that an identifier means; None is None.

    ``makers``: by name, what makes it from the settings of a config dict. Names are case-sensitive.
    Raises ConfigError without a path.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str):
        return _maker(identifier, makers)()
    if isinstance(identifier, Mapping):
        return _from_dict(identifier, makers)
    if inspect.isclass(identifier):
        return identifier()
    if callable(identifier):
        return identifier
    kind = type(identifier).__name__
    raise ConfigError.saying(
        f"is {identifier!r}, of type {kind}; give a name, a callable, a dict with class_name and "
        "config, or None"
    )


def _maker(name: object, makers: Makers) -> Callable[..., Callable]:
    if not isinstance(name, str) or name not in makers:
        names = [word for word in makers if word.islower()]  # the others are the same in CamelCase
        words = f"is {name!r}; give one of {', '.join(names)}"
        raise ConfigError.saying(words + did_you_mean(str(name), names))
    return makers[name]


def _from_dict(identifier: Mapping[str, Any], makers: Makers) -> Callable:
    if unknown := set(map(str, identifier)) - DICT_KEYS:
        words = f"has the unknown key {min(unknown)!r}; give class_name and config"
        raise ConfigError.saying(words)
    if "class_name" not in identifier:
        words = "has no class_name; give {'class_name': NAME, 'config': {...}}"
        raise ConfigError.saying(f"is {dict(identifier)!r}, which {words}")
    maker = _maker(identifier["class_name"], makers)
    settings = identifier.get("config") or {}
    if not isinstance(settings, Mapping):
        raise ConfigError.at("config", f"is {settings!r}; give a dict")
    known = inspect.signature(maker).parameters
    settings = {key: value for key, value in settings.items() if key not in LAYER_KEYS}
    for setting in settings:
        if setting not in known:
            words = f"unknown setting; {identifier['class_name']} has {', '.join(known) or 'none'}"
            raise ConfigError.at(f"config.{setting}", words + did_you_mean(str(setting), known))
    return maker(**settings)


def check_number(
    field: str, value: object, *, least: float = -math.inf, most: float = math.inf
) -> float:
    """A finite number from ``least`` to ``most``. Raises ConfigError at ``field``."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and least <= value <= most):
        bounds = "" if least == -math.inf else f" from {least:g}"
        bounds += "" if most == math.inf else f" to {most:g}"
        raise ConfigError.at(field, f"is {value!r}; give a finite number{bounds or ''}")
    return value


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> str:
    """One of several words. Raises ConfigError at ``field``."""
    if value not in choices:
        words = f"is {value!r}; give one of {', '.join(choices)}"
        raise ConfigError.at(field, words + did_you_mean(str(value), choices))
    return value
