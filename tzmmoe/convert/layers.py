"""Settings of layers: one value for all of them, or a list from the input on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tzmmoe.config.scalars import json_kind
from tzmmoe.convert.section import Given, Section, is_number
from tzmmoe.convert.words import ACTIVATIONS, meant


@dataclass(frozen=True)
class Kind:
    """What a layer can be told: how a value is read, what stands for null and for a layer that a
    list lacks, and the default."""

    read: Callable[[Any], Any]
    none: Any
    default: Any


def _activation(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {json_kind(value)}; give a name such as relu, or none")
    return meant(value, ACTIVATIONS)


def _chance(value: Any) -> float:
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(f"is {json_kind(value)}; give a number in [0, 1)")
    return float(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {json_kind(value)}; give true or false")
    return value


ACT = Kind(_activation, "none", "relu")
DROPOUT = Kind(_chance, 0.0, 0.0)
BN = Kind(_switch, False, False)


def of_network(section: Section, name: str, kind: Kind, num_layers: int) -> Given:
    """Values for the layers of one network: one for all, or one for each."""
    if name not in section.value:
        return Given([kind.default])
    path = section.path_of(name)
    return Given(_filled(section, path, section.value[name], kind, num_layers), path)


def of_towers(
    section: Section, name: str, kind: Kind, depths: Sequence[int]
) -> tuple[Given, list[Given]]:
    """Values for the hidden layers of all towers, and each tower's own where they differ.

    ``depths``: their numbers of hidden layers. A list in the list is one tower's own, as is every
    element beside it.
    """
    value, path = section.value.get(name), section.path_of(name)
    nested = isinstance(value, list) and any(isinstance(each, list) for each in value)
    if nested and len(value) != len(depths):
        words = f"has {len(value)} lists for {len(depths)} towers; give one for each"
        section.fault(name, words)
        return Given([kind.default]), []
    if not nested and (not isinstance(value, list) or len(set(depths)) == 1):
        return of_network(section, name, kind, max(depths, default=0)), []
    values = value if nested else [value] * len(depths)
    own = [
        Given(_filled(section, f"{path}[{i}]" if nested else path, each, kind, depth), path)
        for i, (each, depth) in enumerate(zip(values, depths, strict=True))
    ]
    return Given(None), own


def _filled(section: Section, path: str, value: Any, kind: Kind, num_layers: int) -> list[Any]:
    """A list is cut, or filled up to the last layer: ["relu"] is the first layer's alone."""
    if not isinstance(value, list):
        return [_read(section, path, value, kind)]
    values = [_read(section, f"{path}[{i}]", each, kind) for i, each in enumerate(value)]
    if len(values) > num_layers:
        surplus = f"{len(values) - num_layers} of {len(values)} values"
        section.report.idle[path] = f"{surplus}, for there are {num_layers} layers"
    values = [*values, *[kind.none] * (num_layers - len(values))]
    return values[: max(num_layers, 0)] or [kind.none]


def _read(section: Section, path: str, value: Any, kind: Kind) -> Any:
    if value is None:
        return kind.none
    try:
        return kind.read(value)
    except ValueError as error:
        section.faults.add(path, str(error))
        return kind.none
