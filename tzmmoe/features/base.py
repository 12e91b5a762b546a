"""What a feature is, and which part of a batch is its own."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from torch import nn

from tzmmoe.errors import ConfigError
from tzmmoe.features.shared import FeatureSettings, Origin, SharedFields, Tally
from tzmmoe.features.written import formats
from tzmmoe.features.written.formats import CellFormat
from tzmmoe.jagged import Jagged
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.registry import Modules, Registry
from tzmmoe.registry.modules import NO_MODULES
from tzmmoe.tables.table import Table

FEATURES: Registry[type["Feature"]] = Registry(FeatureConfig, "feature")


@FEATURES.base
class Feature(ABC):
    """One feature: turns the values of its origins into ids of its ``table``, or into numbers.

    A kind is made with the fields that all kinds share and with its message's own fields, except
    ``origin_fields``, which become ``origins``. Where the columns hold raw values, each expression
    in these fields is an origin. Otherwise the only origin is a column that holds what the kind
    would have made of them: under FG_BUCKETIZE the values just before lookup, under FG_NONE ids.
    """

    origin_fields: ClassVar[tuple[str, ...]] = ("expression",)
    file_fields: ClassVar[tuple[str, ...]] = ()  # those that name a text file, such as vocab_file
    later_fields: ClassVar[tuple[str, ...]] = ()  # which exports of earlier versions lack
    is_sequence: ClassVar[bool] = False  # a row's values keep their order, and are not pooled

    name: str
    origins: tuple[Origin, ...]
    separator: str  # between the values of one text cell
    pooling: str
    weighted: bool
    cells: CellFormat
    use_mask: bool
    value_dim: int  # numbers in a row, where there is no table
    width: int  # of the feature's part of the model's input
    may_be_missing: bool = False  # whether NaN stands for a row's missing numbers
    table: Table | None = None
    row_rule: str = "numbers"  # how a value becomes a row of the table

    def __init__(self, shared: SharedFields) -> None:
        self.name = shared.feature_name
        self.origins = shared.origins
        self.separator = shared.value_separator
        self.pooling = shared.pooling
        self.weighted = shared.weighted
        self.cells = shared.cells
        self.use_mask = shared.use_mask
        self.value_dim = shared.value_dim

    @property
    def in_messages(self) -> str:
        return f"feature {self.name!r}"

    @abstractmethod
    def values(self, arrays: Sequence[Jagged]) -> Jagged:
        """The values that a feature with the expression ``feature:<this>`` reads.

        arrays: for each origin, its values as ``column.read`` returns them.
        """

    @abstractmethod
    def encode(self, arrays: Sequence[Jagged]) -> tuple[Jagged | np.ndarray, Tally]:
        """Ids (int64) of B rows, or numbers (B, value_dim) float32, NaN where they are missing if
        they ``may_be_missing``. arrays: as for ``values``.

        Raises:
            BadValue: a value that cannot be encoded, with its row.
        """

    def keeps_rows(self, rule: str, rows: int) -> bool:
        """Whether values that had one of the first ``rows`` rows of the table by another
        ``row_rule`` have it still."""
        return rule == self.row_rule and self.table is not None and rows == self.table.rows

    def embedder(self) -> nn.Module | None:
        """The layer that turns the numbers into (B, width); None leaves them as they are."""
        return None

    @classmethod
    def idle(cls, fields: Mapping[str, Any], setting: FeatureSettings) -> Iterator[tuple[str, str]]:
        """The fields that have no effect even if they are set, each with the reason."""
        reason = f"under fg_mode: {setting.fg_mode}"
        if not setting.raw:
            for name in cls.origin_fields:
                if _names(fields[name]) != [fields["feature_name"]]:
                    yield name, reason
        raw, encoded = ("default_value", "separator"), ("fg_encoded_default_value",)
        for name in raw if setting.encoded else encoded:
            yield name, reason
        if not setting.raw:
            for name in formats.FIELDS:
                yield name, reason
        if fields.get("date_part") is None:
            for name in ("date_format", "time_zone"):
                yield name, "without date_part"


def _names(expressions: str | Sequence[str] | None) -> list[str]:
    """The names in expressions, without user:, item: and the like."""
    several = [expressions or ""] if isinstance(expressions, str | None) else expressions
    return [expression.rpartition(":")[2] for expression in several]


@dataclass(frozen=True)
class FeatureSpec:
    """What a feature is made from: its word of the schema and its fields, as plain data.

    ``modules``: those in which a class of the user's may lie.
    """

    word: str
    fields: Mapping[str, Any]
    modules: Modules = field(default=NO_MODULES, compare=False)

    @property
    def kind(self) -> type[Feature]:
        """Raises ConfigError if it is a class of the user's that cannot be had."""
        return FEATURES.kind(self.word, self.fields, self.modules)

    @property
    def is_custom(self) -> bool:
        return self.word == FEATURES.custom

    @property
    def own_args(self) -> Mapping[str, Any]:
        """The arguments of a class of the user's."""
        return self.fields.get("args") or {} if self.is_custom else {}

    def files(self) -> dict[str, str]:
        """The path in each field, or argument of a class of the user's, that names a file."""
        owner = self.own_args if self.is_custom else self.fields
        return {name: owner[name] for name in self.kind.file_fields if owner.get(name)}

    def described(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Word and fields as plain data, with other paths in place of those in ``files()``."""
        if self.is_custom:
            return {"kind": self.word, **self.fields, "args": {**self.own_args, **files}}
        return {"kind": self.word, **self.fields, **files}

    def make(self, setting: FeatureSettings) -> Feature:
        kind = self.kind
        own = {**dict.fromkeys(kind.later_fields), **self.fields}
        expressions = {name: own.pop(name) for name in kind.origin_fields}
        shared = {name: own.pop(name) for name in SharedFields.names() & own.keys()}
        origins = setting.origins(expressions, shared["feature_name"])
        common = SharedFields(setting, origins, **shared)
        if self.is_custom:
            feature = FEATURES.make(kind, [common], self.own_args)
        else:
            feature = kind(common, **own)
        if feature.cells.rule:
            feature.row_rule = f"{feature.row_rule}, {feature.cells.rule}"
        if feature.table is None and feature.value_dim < 1:
            words = f"{self.kind.__name__} has neither a table nor a value_dim; set one in __init__"
            raise ConfigError.at("class", words) if self.is_custom else TypeError(words)
        return feature


def ordered(features: Mapping[str, Feature]) -> list[Feature]:
    """All features, each after those it reads. Raises ConfigError if they read in a ring."""
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

    pooled: ids whose embeddings, of ``width``, are pooled into one; ``place`` is the feature's
    among those of the same width, whose ids share one array. sequence: ids in an array of their
    own, whose embeddings, of ``width``, are not pooled. number: ``width`` columns of the batch's
    numbers, from ``place`` on.
    """

    kind: Literal["pooled", "sequence", "number"]
    feature: Feature
    width: int
    place: int

    @property
    def end(self) -> int:
        """The place after a number's last column."""
        return self.place + self.width


@dataclass(frozen=True)
class Layout:
    """The slots of a batch, in the order of the features."""

    slots: tuple[Slot, ...]

    @classmethod
    def of(cls, features: Sequence[Feature]) -> "Layout":
        slots: list[Slot] = []
        places: dict[int | None, int] = {}  # next free place by width of ids; None: of numbers
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
        """The slots of pooled ids by width, in ascending order."""
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
