"""What all kinds of features share: origins, data_config's settings, fields, the default value."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.errors import ConfigError
from tzmmoe.features.column import read
from tzmmoe.features.forms import BadValue
from tzmmoe.features.lookup import Identity, Lookup
from tzmmoe.features.written.formats import FIELDS, CellFormat
from tzmmoe.jagged import Jagged
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.initializers import table_initializer
from tzmmoe.tables.table import Table


@dataclass(frozen=True)
class Origin:
    """What a feature reads: a ``column``, another ``feature`` or a ``const``. ``path`` is the field
    that names it."""

    kind: str
    name: str
    path: str = field(default="expression", compare=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"

    @classmethod
    def parse(cls, expression: str, feature_name: str, path: str = "expression") -> "Origin":
        """``user:age`` -> column age; empty -> the column of the feature's own name."""
        if not expression:
            return cls("column", feature_name, path)
        side, colon, name = expression.partition(":")
        if not colon:
            return cls("column", expression, path)
        if side in ("user", "item", "context") and name:
            return cls("column", name, path)
        if side in ("feature", "const") and name:
            return cls(side, name, path)
        raise ConfigError.at(
            path, f"is {expression!r}; write user:, item:, context:, feature: or const:, and a name"
        )


@dataclass(frozen=True)
class FeatureSettings:
    """The settings of data_config that concern every feature."""

    fg_mode: str
    multival_separator: str
    hash_function: str
    folder: Path  # of the config; paths of the features' files are relative to it
    one_form: bool = False  # whether 102.0 in a text is the id 102; exports once were without it

    @property
    def raw(self) -> bool:
        """Whether the columns hold raw values and expressions name them."""
        return self.fg_mode in ("FG_NORMAL", "FG_DAG")

    @property
    def encoded(self) -> bool:
        """Whether the columns hold rows of tables, or normalized numbers."""
        return self.fg_mode == "FG_NONE"

    def origins(
        self, expressions: Mapping[str, str | Sequence[str] | None], feature_name: str
    ) -> tuple[Origin, ...]:
        """The origins of a feature, from its expressions by field.

        A feature with a single expression may leave it out: it then reads the column of its own
        name, as every feature does where the columns are not raw.
        """
        if not self.raw:
            return (Origin("column", feature_name, next(iter(expressions))),)
        texts: dict[str, str] = {}
        for name, value in expressions.items():
            if isinstance(value, str) or not value:
                texts[name] = value or ""
            else:
                texts |= {f"{name}[{place}]": text for place, text in enumerate(value)}
        origins = []
        for path, text in texts.items():
            if not text and len(texts) > 1:
                raise ConfigError.at(path, "is not set; name the column or feature to read")
            origin = Origin.parse(text, feature_name, path)
            if origin.kind == "feature" and self.fg_mode != "FG_DAG":
                raise ConfigError.at(path, f"{text!r} reads a feature; that needs fg_mode: FG_DAG")
            origins.append(origin)
        return tuple(origins)


# The fields that say how a table is made and read, but not how many rows it has.
OF_A_TABLE = ("embedding_name", "init_fn", "pooling", "trainable", "embedding_constraints")


@dataclass(frozen=True)
class SharedFields:
    """What every kind of feature is made from: data_config's ``setting``, its ``origins``, and
    these fields of its message. Where a kind's message has no such field, the default here applies.

    Raises ConfigError for an invalid pooling or separator.
    """

    setting: FeatureSettings
    origins: tuple[Origin, ...]
    feature_name: str
    embedding_name: str | None = None
    embedding_dim: int | None = None
    init_fn: str | None = None
    trainable: bool = True
    embedding_constraints: Mapping[str, Any] | None = None
    pooling: str = "sum"
    default_value: str = ""
    fg_encoded_default_value: str | None = None
    separator: str = "\x1d"
    weighted: bool = False
    use_mask: bool = False
    value_dim: int = 0
    list_format: str = "SEPARATED"
    na_values: Sequence[str] = ()
    number_format: Mapping[str, Any] | None = None
    date_part: str | None = None
    date_format: str | None = None
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.pooling not in ("sum", "mean"):
            raise ConfigError.at("pooling", f"is {self.pooling!r}; give 'sum' or 'mean'")
        if self.weighted and self.pooling == "mean":
            raise ConfigError.at("pooling", "is 'mean', but weighted values are always summed")
        if not self.separator:
            raise ConfigError.at("separator", "is empty; give the text that separates two values")

    @classmethod
    def names(cls) -> set[str]:
        """The fields that a kind's message may share with others."""
        return {field.name for field in fields(cls)} - {"setting", "origins"}

    @property
    def value_separator(self) -> str:
        """Between the values of one text cell."""
        return self.setting.multival_separator if self.setting.encoded else self.separator

    @cached_property
    def cells(self) -> CellFormat:
        """How the cells are written. Where they do not hold raw values, as plain values."""
        separator = self.value_separator
        if not self.setting.raw:
            return CellFormat(separator, self.weighted)
        own = {name: getattr(self, name) for name in FIELDS}
        return CellFormat.of(separator, self.weighted, own)

    @property
    def default_path(self) -> str:
        """The field that holds the substitute for a missing value."""
        return "fg_encoded_default_value" if self.setting.encoded else "default_value"

    @property
    def default_text(self) -> str:
        return getattr(self, self.default_path) or ""

    def dim(self) -> int:
        """The width of the embedding. Raises ConfigError if it is missing."""
        if not self.embedding_dim:
            state = "is not set" if self.embedding_dim is None else "is 0"
            raise ConfigError.at("embedding_dim", f"{state}; give the width of the embedding")
        return self.embedding_dim

    def table(self, rows: int) -> Table:
        """The feature's table with this many rows. Raises ConfigError."""
        name = self.embedding_name or f"{self.feature_name}_emb"
        if not re.fullmatch(r"[\w\-]+", name):
            raise ConfigError.at("embedding_name", f"is {name!r}; use letters, digits, _ and -")
        constraints = self.embedding_constraints
        return Table(
            name=name,
            rows=rows,
            dim=self.dim(),
            trainable=self.trainable,
            init_text=self.init_fn or "",
            init=table_initializer(self.init_fn, rows),
            constraints=Constraints.of(constraints) if constraints else Constraints(),
        )


def check_shared(tables: Sequence[tuple[str, Table]]) -> None:
    """Raise ConfigError when features share a table but describe it differently.

    tables: names of features, each with the feature's table.
    """
    owners: dict[str, tuple[str, Table]] = {}
    for feature, table in tables:
        owner, first = owners.setdefault(table.name, (feature, table))
        if first != table:
            raise ConfigError.at(
                "feature_configs",
                f"{owner!r} and {feature!r} share the table {table.name!r}, but differ: "
                f"{first.rows} x {first.dim} and {table.rows} x {table.dim} "
                f"(rows, embedding_dim, init_fn, trainable and embedding_constraints must agree)",
            )


@dataclass(frozen=True)
class Tally:
    """How many rows had no value, took the default, or held an unknown or out-of-range value."""

    missing: int = 0
    defaulted: int = 0
    unknown: int = 0
    outside: int = 0

    @classmethod
    def of_all(cls, parts: Sequence["Tally"]) -> "Tally":
        """The sums over several sets of rows."""
        names = [count.name for count in fields(cls)]
        return cls(**{name: sum(getattr(part, name) for part in parts) for name in names})


class Default:
    """The values that rows without any take: their ``texts``, and their ``ids`` in the table. Both
    are empty where the field is ``""``.

    At most ``most`` values count, or all if it is 0. Raises ConfigError for a value that ``lookup``
    does not take.
    """

    def __init__(self, shared: SharedFields, lookup: Lookup, most: int = 0) -> None:
        path, text = shared.default_path, shared.default_text
        if shared.weighted and ":" in text:
            words = f"is {text!r}; give the value alone, since a default has weight 1"
            raise ConfigError.at(path, words)
        self.texts = pa.array([], pa.large_string())
        self.ids = np.empty(0, np.int64)
        self._counts_outside = isinstance(lookup, Identity)
        if not text:
            return
        self.texts = read(pa.array([text]), shared.value_separator, weighted=False).values
        self.texts = self.texts[: most or None]
        try:
            self.ids, unrecognized = lookup.find(self.texts)
        except BadValue as bad:
            raise ConfigError.at(path, bad.text) from bad
        if unrecognized is not None and self._counts_outside:
            outside = self.texts[int(np.flatnonzero(unrecognized)[0])].as_py()
            words = f"is {outside}, outside the table's rows, 0 to {lookup.rows - 1}"
            raise ConfigError.at(path, words)

    def fill(self, ids: Jagged, unrecognized: np.ndarray | None) -> tuple[Jagged, Tally]:
        """Give rows without ids the default ones, and count the rows.

        unrecognized: (N,) bool, the values that were unknown or out of range; None if none was.
        """
        empty = ids.empty()
        num_missing = 0 if empty is None else int(empty.sum())
        num_unrecognized = 0
        if unrecognized is not None:
            num_unrecognized = int(np.count_nonzero(ids.keep(unrecognized).counts))
        tally = Tally(
            missing=num_missing,
            defaulted=num_missing if len(self.ids) else 0,
            unknown=0 if self._counts_outside else num_unrecognized,
            outside=num_unrecognized if self._counts_outside else 0,
        )
        return ids.filled(Jagged(self.ids, np.array([len(self.ids)]))), tally
