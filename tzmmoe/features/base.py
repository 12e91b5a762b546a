"""What a feature is: columns in, ids or numbers out."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tzmmoe.errors import ConfigError
from tzmmoe.features.column import Values
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.registry import Registry
from tzmmoe.tables.table import Table

FEATURES: Registry[type["Feature"]] = Registry(FeatureConfig, "feature")


@dataclass(frozen=True)
class Ids:
    """Rows of a table for B rows of data: row b has the next ``lengths[b]`` of ``values``.

    values: (N,) int64. lengths: (B,) int64, None when each row has one. weights: (N,) float32.
    """

    values: np.ndarray
    lengths: np.ndarray | None = None
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Tally:
    """How many rows had no value, took the default, or held an unknown or an outside value."""

    missing: int = 0
    defaulted: int = 0
    unknown: int = 0
    outside: int = 0


@dataclass(frozen=True)
class Origin:
    """Where a feature's values come from: a ``column``, another ``feature``, or a ``const``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"

    @classmethod
    def parse(cls, expression: str, feature_name: str) -> "Origin":
        """``user:age`` -> column age; empty -> the column of the feature's own name."""
        if not expression:
            return cls("column", feature_name)
        side, colon, name = expression.partition(":")
        if not colon:
            return cls("column", expression)
        if side in ("user", "item", "context") and name:
            return cls("column", name)
        if side in ("feature", "const") and name:
            return cls(side, name)
        raise ConfigError.at(
            "expression",
            f"is {expression!r}; write user:, item:, context:, feature: or const: and a name",
        )


@dataclass(frozen=True)
class Setting:
    """What data_config says to every feature."""

    fg_mode: str
    multival_separator: str
    hash_function: str
    folder: Path  # of the config, for vocab_file

    @property
    def raw(self) -> bool:
        """The columns hold raw values, named by expression."""
        return self.fg_mode in ("FG_NORMAL", "FG_DAG")

    def separator(self, configured: str) -> str:
        """Between the values of one text cell."""
        if not configured:
            raise ConfigError.at("separator", "is empty; give the text between two values")
        return self.multival_separator if self.fg_mode == "FG_NONE" else configured

    def origin(self, expression: str, feature_name: str) -> Origin:
        if not self.raw:
            return Origin("column", feature_name)
        origin = Origin.parse(expression, feature_name)
        if origin.kind == "feature" and self.fg_mode != "FG_DAG":
            raise ConfigError.at(
                "expression", f"{expression!r} reads a feature; that needs fg_mode: FG_DAG"
            )
        return origin


class Feature(ABC):
    """One feature: reads a column, gives ids of a table (``table`` is set) or numbers."""

    name: str
    origin: Origin
    width: int  # of its part of the model's input
    table: Table | None
    separator: str  # between the values of one text cell
    pooling: str
    weighted: bool
    use_mask: bool
    value_dim: int  # how many numbers, where there is no table
    meaning: str = "numbers"  # how a value becomes a row of the table

    @abstractmethod
    def values(self, origin: Values) -> Values:
        """The values that a feature with the expression ``feature:<this>`` reads."""

    @abstractmethod
    def encode(self, origin: Values) -> tuple[Ids | np.ndarray, Tally]:
        """Ids, or numbers (B, value_dim) float32.

        Raises:
            BadValue: a value that cannot be encoded, with its row.
        """

    def embedder(self) -> nn.Module | None:
        """What turns this feature's numbers into (B, width); None leaves them as they are."""
        return None


@dataclass(frozen=True)
class FeatureSpec:
    """What a feature is made from: its word in the schema and its fields, as plain data."""

    word: str
    fields: Mapping[str, Any]

    def make(self, setting: Setting) -> Feature:
        return FEATURES[self.word](setting, **self.fields)


def table_name(embedding_name: str | None, feature_name: str) -> str:
    name = embedding_name or f"{feature_name}_emb"
    if not re.fullmatch(r"[\w\-]+", name):
        raise ConfigError.at("embedding_name", f"is {name!r}; use letters, digits, _ and -")
    return name


def ordered(features: Mapping[str, Feature]) -> list[Feature]:
    """All features, each after the one it reads. Raises ConfigError for a ring."""
    done: dict[str, Feature] = {}

    def visit(feature: Feature, trail: tuple[str, ...]) -> None:
        if feature.name in done:
            return
        if feature.name in trail:
            ring = " -> ".join((*trail, feature.name))
            raise ConfigError.at("feature_configs", f"features read each other in a ring: {ring}")
        if feature.origin.kind == "feature":
            visit(features[feature.origin.name], (*trail, feature.name))
        done[feature.name] = feature

    for feature in features.values():
        visit(feature, ())
    return list(done.values())
