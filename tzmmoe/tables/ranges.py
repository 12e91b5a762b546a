"""The ranges of the optimizers' settings, by their names in the schema."""

from collections.abc import Callable, Mapping
from typing import Any

from tzmmoe.errors import Faults, exactly

Range = tuple[Callable[[float], bool], str]

NOT_NEGATIVE: Range = (lambda value: value >= 0, "0 or more")
POSITIVE: Range = (lambda value: value > 0, "more than 0")
NOT_POSITIVE: Range = (lambda value: value <= 0, "0 or less")
FRACTION: Range = (lambda value: 0 <= value < 1, "0 to below 1")

RANGES: dict[str, Range] = {
    "lr": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "momentum": NOT_NEGATIVE,
    "initial_accumulator_value": NOT_NEGATIVE,
    "l1_reg": NOT_NEGATIVE,
    "l2_reg": NOT_NEGATIVE,
    "eps": POSITIVE,  # it keeps a weight whose gradient was always 0 from a division by 0
    "beta1": FRACTION,
    "beta2": FRACTION,
    "rho": FRACTION,
    "alpha": FRACTION,
    "learning_rate_power": NOT_POSITIVE,
}


def check_ranges(arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError with every setting that is out of its range, as NaN always is."""
    faults = Faults()
    for name in RANGES.keys() & arguments.keys():
        fits, words = RANGES[name]
        if not fits(arguments[name]):
            faults.add(name, f"is {exactly(arguments[name])}; give {words}")
    faults.sort(key=lambda fault: fault.path)
    faults.stop()
