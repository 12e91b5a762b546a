"""``method=zscore,mean=0,standard_deviation=1`` -> a function on numbers."""

import math

import numpy as np

from tzmmoe.errors import ConfigError, did_you_mean
from tzmmoe.features.expression import Formula, formula
from tzmmoe.features.forms import parse_number

# method: {argument: default}, None when it must be given.
METHODS: dict[str, dict[str, float | None]] = {
    "log10": {"threshold": 1e-10, "default": -10.0},
    "zscore": {"mean": None, "standard_deviation": None},
    "minmax": {"min": None, "max": None},
}


def normalizer(text: str) -> Formula:
    """The function that ``raw_feature.normalizer`` describes. Raises ConfigError."""
    parts = [part.strip() for part in text.split(",", 1)]
    key, _, method = parts[0].partition("=")
    if key.strip() != "method":
        raise ConfigError.at("normalizer", f"{text!r} does not begin with method=")
    rest = parts[1] if len(parts) > 1 else ""
    method = method.strip()
    if method == "expression":
        return _expression(rest, text)
    if method not in METHODS:
        known = [*METHODS, "expression"]
        raise ConfigError.at(
            "normalizer", f"no method {method!r}{did_you_mean(method, known)}; {', '.join(known)}"
        )
    numbers = _arguments(rest, METHODS[method], text)
    if method == "log10":
        return _log10(numbers["threshold"], numbers["default"])
    if method == "zscore":
        return _scaled(numbers["mean"], numbers["standard_deviation"], text)
    return _scaled(numbers["min"], numbers["max"] - numbers["min"], text)


def _expression(rest: str, text: str) -> Formula:
    key, equals, expression = rest.partition("=")
    if key.strip() != "expr" or not equals:
        raise ConfigError.at("normalizer", f"{text!r} lacks expr=")
    try:
        return formula(expression)
    except ConfigError as error:
        raise ConfigError.at("normalizer", error.faults[0].text) from error


def _arguments(rest: str, known: dict[str, float | None], text: str) -> dict[str, float]:
    given = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        name, value = (word.strip() for word in part.partition("=")[::2])
        if name not in known:
            raise ConfigError.at(
                "normalizer", f"{text!r}: no argument {name!r}{did_you_mean(name, known)}"
            )
        if name in given:
            raise ConfigError.at("normalizer", f"{text!r}: {name} is there twice")
        given[name] = parse_number(value)
        if given[name] is None or not math.isfinite(given[name]):
            raise ConfigError.at("normalizer", f"{text!r}: {value!r} is no number")
    lacking = [name for name, default in known.items() if default is None and name not in given]
    if lacking:
        raise ConfigError.at("normalizer", f"{text!r} lacks {' and '.join(lacking)}")
    return {**known, **given}


def _scaled(shift: float, scale: float, text: str) -> Formula:
    if not scale > 0:
        raise ConfigError.at("normalizer", f"{text!r} divides by {scale:g}; give more than 0")
    return lambda x: (x - shift) / scale


def _log10(threshold: float, default: float) -> Formula:
    return lambda x: np.where(
        x > threshold, np.log10(x, where=x > threshold, out=np.zeros_like(x)), default
    )
