"""What a feature is: columns in, ids or numbers out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from torch import nn

from tzmmoe.errors import ConfigError
from tzmmoe.features.shared import Origin, Setting, SharedFields, Tally
from tzmmoe.jagged import Jagged
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.registry import Registry
from tzmmoe.tables.table import Table

FEATURES: Registry[type["Feature"]] = Registry(FeatureConfig, "feature")


class Feature(ABC):
    """One feature: reads its origins, gives ids of a table (``table`` is set) or numbers.

    A kind is made with the fields that all share, and those of its message that are its own, but
    for ``origin_fields``, which become ``origins``. Where the columns hold raw values, there is one
    origin for each expression in these fields. Else there is one, which holds what the kind would
    have made of them: under FG_BUCKETIZE the values just before lookup, under FG_NONE the ids.
    """

    origin_fields: ClassVar[tuple[str, ...]] = ("expression",)
    file_fields: ClassVar[tuple[str, ...]] = ()  # each names a text file, as vocab_file does
    is_sequence: ClassVar[bool] = False  # a row's values keep their order, and are not pooled

    name: str
    origins: tuple[Origin, ...]
    separator: str  # between the values of one text cell
    pooling: str
    weighted: bool
    use_mask: bool
    value_dim: int  # how many numbers, where there is no table
    width: int  # of its part of the model's input
    table: Table | None = None
    meaning: str = "numbers"  # how a value becomes a row of the table

    def __init__(self, shared: SharedFields) -> None:
        self.name = shared.feature_name
        self.origins = shared.origins
        self.separator = shared.value_separator
        self.pooling = shared.pooling
        self.weighted = shared.weighted
        self.use_mask = shared.use_mask
        self.value_dim = shared.value_dim

    @abstractmethod
    def values(self, arrays: Sequence[Jagged]) -> Jagged:
        """The values that a feature with the expression ``feature:<this>`` reads.

        arrays: the values of each origin, Arrow, as ``column.read`` gives them.
        """

    @abstractmethod
    def encode(self, arrays: Sequence[Jagged]) -> tuple[Jagged | np.ndarray, Tally]:
        """Ids (B,), int64, or numbers (B, value_dim) float32, of the values of each origin.

        Raises:
            BadValue: a value that cannot be encoded, with its row.
        """

    def embedder(self) -> nn.Module | None:
        """What turns this feature's numbers into (B, width); None leaves them as they are."""
        return None

    @classmethod
    def idle(cls, fields: Mapping[str, Any], setting: Setting) -> Iterator[tuple[str, str]]:
        """Fields that change nothing, whether they are set or not, each with the reason."""
        reason = f"under fg_mode: {setting.fg_mode}"
        if not setting.raw:
            for name in cls.origin_fields:
                if _names(fields[name]) != [fields["feature_name"]]:
                    yield name, reason
        raw, encoded = ("default_value", "separator"), ("fg_encoded_default_value",)
        for name in raw if setting.encoded else encoded:
            yield name, reason


def _names(expressions: str | Sequence[str] | None) -> list[str]:
    """What expressions name, without the side."""
    several = [expressions or ""] if isinstance(expressions, str | None) else expressions
    return [expression.rpartition(":")[2] for expression in several]


@dataclass(frozen=True)
class FeatureSpec:
    """What a feature is made from: its word in the schema and its fields, as plain data."""

    word: str
    fields: Mapping[str, Any]

    @property
    def kind(self) -> type[Feature]:
        return FEATURES[self.word]

    def files(self) -> dict[str, str]:
        """The fields that name a file, and which one."""
        return {name: self.fields[name] for name in self.kind.file_fields if self.fields.get(name)}

    def make(self, setting: Setting) -> Feature:
        own = dict(self.fields)
        expressions = {name: own.pop(name) for name in self.kind.origin_fields}
        shared = {name: own.pop(name) for name in SharedFields.names() & own.keys()}
        origins = setting.origins(expressions, shared["feature_name"])
        return self.kind(SharedFields(setting, origins, **shared), **own)


def ordered(features: Mapping[str, Feature]) -> list[Feature]:
    """All features, each after those it reads. Raises ConfigError for a ring."""
    done: dict[str, Feature] = {}

    def visit(feature: Feature, trail: tuple[str, ...]) -> None:
        if feature.name in done:
            return
        if feature.name in trail:
            ring = " -> ".join((*trail, feature.name))
            raise ConfigError.at("feature_configs", f"features read each other in a ring: {ring}")
        for origin in feature.origins:
            if origin.kind == "feature":
                visit(features[origin.name], (*trail, feature.name))
        done[feature.name] = feature

    for feature in features.values():
        visit(feature, ())
    return list(done.values())


@dataclass(frozen=True)
class Slot:
    """A feature's part of a batch.

    pooled: ids whose embeddings become one, of ``width``; ``place`` counts among the features whose
    ids lie side by side, which are those of this width. sequence: ids that stay apart, each with an
    embedding of ``width``, in an array of their own. number: ``width`` columns of the batch's
    numbers, from ``place`` on.
    """

    kind: Literal["pooled", "sequence", "number"]
    feature: Feature
    width: int
    place: int

    @property
    def end(self) -> int:
        """After the last of a number's columns."""
        return self.place + self.width


@dataclass(frozen=True)
class Layout:
    """The slots of a batch, in the order of the features."""

    slots: tuple[Slot, ...]

    @classmethod
    def of(cls, features: Sequence[Feature]) -> "Layout":
        slots: list[Slot] = []
        places: dict[int | None, int] = {}  # the next one by width of ids, None for numbers
        for feature in features:
            if feature.is_sequence:
                slots.append(Slot("sequence", feature, feature.table.dim, 0))
                continue
            key = feature.table.dim if feature.table else None
            kind, width = ("pooled", key) if key else ("number", feature.value_dim)
            place = places.get(key, 0)
            slots.append(Slot(kind, feature, width, place))
            places[key] = place + (1 if key else width)
        return cls(tuple(slots))

    @cached_property
    def pooled(self) -> dict[int, tuple[Slot, ...]]:
        """By width, in ascending order, those whose ids lie side by side."""
        slots = [slot for slot in self.slots if slot.kind == "pooled"]
        widths = sorted({slot.width for slot in slots})
        return {width: tuple(slot for slot in slots if slot.width == width) for width in widths}

    @cached_property
    def sequences(self) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.kind == "sequence")

    @cached_property
    def numbers(self) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.kind == "number")

    @property
    def num_numbers(self) -> int:
        return self.numbers[-1].end if self.numbers else 0

    def weighted(self, width: int) -> bool:
        """Whether the pooled ids of this width have weights."""
        return any(slot.feature.weighted for slot in self.pooled[width])
