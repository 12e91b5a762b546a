"""The fields that kinds of features share, whose meaning is the same in each kind's message."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.errors import ConfigError
from tzmmoe.features.column import read
from tzmmoe.features.forms import BadValue
from tzmmoe.features.lookup import Identity, Lookup
from tzmmoe.jagged import Jagged
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.initializers import table_initializer
from tzmmoe.tables.table import Table


@dataclass(frozen=True)
class Origin:
    """A ``column``, another ``feature``, or a ``const``; ``path`` is the field that says so."""

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
            path, f"is {expression!r}; write user:, item:, context:, feature: or const: and a name"
        )


@dataclass(frozen=True)
class Setting:
    """What data_config says to every feature."""

    fg_mode: str
    multival_separator: str
    hash_function: str
    folder: Path  # of the config, beside which the features' files lie

    @property
    def raw(self) -> bool:
        """The columns hold raw values, named by expression."""
        return self.fg_mode in ("FG_NORMAL", "FG_DAG")

    @property
    def encoded(self) -> bool:
        """The columns hold ids of tables, or normalized numbers."""
        return self.fg_mode == "FG_NONE"

    def origins(
        self, expressions: Mapping[str, str | Sequence[str] | None], feature_name: str
    ) -> tuple[Origin, ...]:
        """Of a feature whose fields have these expressions, in order.

        A feature with one field may leave it out, and then reads the column of its own name, as
        every feature does where the columns are not raw.
        """
        if not self.raw:
            return (Origin("column", feature_name, next(iter(expressions))),)
        written = []
        for name, value in expressions.items():
            if isinstance(value, str) or not value:
                written.append((name, value or ""))
            else:
                written += [(f"{name}[{place}]", text) for place, text in enumerate(value)]
        if len(written) > 1:
            for path, text in written:
                if not text:
                    raise ConfigError.at(path, "is not set; name the column or feature to read")
        origins = tuple(Origin.parse(text, feature_name, path) for path, text in written)
        for origin, (path, text) in zip(origins, written, strict=True):
            if origin.kind == "feature" and self.fg_mode != "FG_DAG":
                raise ConfigError.at(path, f"{text!r} reads a feature; that needs fg_mode: FG_DAG")
        return origins


# Fields that say how a table is made and read, and nothing of how many rows it has.
OF_A_TABLE = ("embedding_name", "init_fn", "pooling", "trainable", "embedding_constraints")


@dataclass(frozen=True)
class SharedFields:
    """What every kind of feature is told: data_config's ``setting``, its ``origins``, and these
    fields of its message. A field that a kind's message lacks has the value that is given here.

    Raises ConfigError for a pooling or separator that cannot be.
    """

    setting: Setting
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

    def __post_init__(self) -> None:
        if self.pooling not in ("sum", "mean"):
            raise ConfigError.at("pooling", f"is {self.pooling!r}; give 'sum' or 'mean'")
        if self.weighted and self.pooling == "mean":
            raise ConfigError.at("pooling", "is 'mean', but weighted values are always summed")
        if not self.separator:
            raise ConfigError.at("separator", "is empty; give the text between two values")

    @classmethod
    def names(cls) -> set[str]:
        """The fields of a kind's message that are among these."""
        return {field.name for field in fields(cls)} - {"setting", "origins"}

    @property
    def value_separator(self) -> str:
        """Between the values of one text cell."""
        return self.setting.multival_separator if self.setting.encoded else self.separator

    @property
    def default_path(self) -> str:
        """The field that tells what stands for a missing value."""
        return "fg_encoded_default_value" if self.setting.encoded else "default_value"

    @property
    def default_text(self) -> str:
        return getattr(self, self.default_path) or ""

    def dim(self) -> int:
        """The width of the embedding. Raises ConfigError when there is none."""
        if not self.embedding_dim:
            what = "is not set" if self.embedding_dim is None else "is 0"
            raise ConfigError.at("embedding_dim", f"{what}; give the width of the embedding")
        return self.embedding_dim

    def table(self, rows: int) -> Table:
        """The feature's table, of so many rows. Raises ConfigError."""
        name = self.embedding_name or f"{self.feature_name}_emb"
        if not re.fullmatch(r"[\w\-]+", name):
            raise ConfigError.at("embedding_name", f"is {name!r}; use letters, digits, _ and -")
        wanted = self.embedding_constraints
        return Table(
            name=name,
            rows=rows,
            dim=self.dim(),
            trainable=self.trainable,
            init_text=self.init_fn or "",
            init=table_initializer(self.init_fn, rows),
            constraints=Constraints.of(wanted) if wanted else Constraints(),
        )


def check_shared(tables: Sequence[tuple[str, Table]]) -> None:
    """Raise ConfigError when features share a table but describe it differently."""
    seen: dict[str, tuple[str, Table]] = {}
    for feature, each in tables:
        owner, first = seen.setdefault(each.name, (feature, each))
        if first != each:
            raise ConfigError.at(
                "feature_configs",
                f"{owner!r} and {feature!r} share the table {each.name!r}, but differ: "
                f"{first.rows} x {first.dim} and {each.rows} x {each.dim} "
                f"(rows, embedding_dim, init_fn, trainable and embedding_constraints must agree)",
            )


@dataclass(frozen=True)
class Tally:
    """How many rows had no value, took the default, or held an unknown or an outside value."""

    missing: int = 0
    defaulted: int = 0
    unknown: int = 0
    outside: int = 0


class Default:
    """The values of a row that has none of its own: their ``texts``, and their ``ids`` in the
    table. None at all where the field says ``""``.

    At most ``most`` values count, if that is not 0. Raises ConfigError for one that ``lookup``
    cannot take.
    """

    def __init__(self, shared: SharedFields, lookup: Lookup, most: int = 0) -> None:
        path, text = shared.default_path, shared.default_text
        if shared.weighted and ":" in text:
            words = f"is {text!r}; a default has weight 1, so give its value alone"
            raise ConfigError.at(path, words)
        self.texts = pa.array([], pa.large_string())
        self.ids = np.empty(0, np.int64)
        self._counts_outside = isinstance(lookup, Identity)
        if not text:
            return
        self.texts = read(pa.array([text]), shared.value_separator, weighted=False).values
        self.texts = self.texts[: most or None]
        try:
            self.ids, strange = lookup.find(self.texts)
        except BadValue as bad:
            raise ConfigError.at(path, bad.text) from bad
        if strange is not None and self._counts_outside:
            outside = self.texts[int(np.flatnonzero(strange)[0])].as_py()
            words = f"is {outside}, outside the table's rows, 0 to {lookup.rows - 1}"
            raise ConfigError.at(path, words)

    def fill(self, ids: Jagged, strange: np.ndarray | None) -> tuple[Jagged, Tally]:
        """Give rows without ids the default ones, and count the rows.

        strange: (N,) bool, the values that were unknown or outside; None when none was.
        """
        empty = ids.empty()
        num_missing = 0 if empty is None else int(empty.sum())
        num_strange = 0 if strange is None else _rows_with(strange, ids.lengths)
        tally = Tally(
            missing=num_missing,
            defaulted=num_missing if len(self.ids) else 0,
            unknown=0 if self._counts_outside else num_strange,
            outside=num_strange if self._counts_outside else 0,
        )
        return ids.filled(Jagged(self.ids, np.array([len(self.ids)]))), tally


def _rows_with(strange: np.ndarray, lengths: np.ndarray | None) -> int:
    if lengths is None:
        return int(strange.sum())
    return len(np.unique(np.repeat(np.arange(len(lengths)), lengths)[strange]))
