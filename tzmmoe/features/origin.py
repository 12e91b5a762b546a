"""Where a feature's values come from, as data_config and the feature's expressions say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tzmmoe.errors import ConfigError


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
