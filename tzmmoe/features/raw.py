"""Numbers: used as they are, bucketed or embedded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from tzmmoe.errors import ConfigError, exactly, within
from tzmmoe.features.base import FEATURES, Feature
from tzmmoe.features.column import plain
from tzmmoe.features.doubts import warn_of_small
from tzmmoe.features.forms import (
    NOT_A_NUMBER,
    OR_MISSING,
    BadValue,
    as_float32,
    as_numbers,
    parse_number,
)
from tzmmoe.features.lookup import Boundaries, Identity, look_up
from tzmmoe.features.normalizer import Log10
from tzmmoe.features.normalizer import normalizer as parse_normalizer
from tzmmoe.features.shared import OF_A_TABLE, Default, FeatureSettings, SharedFields, Tally
from tzmmoe.jagged import Jagged
from tzmmoe.nn.numbers import (
    AutoDis,
    EncodedEmbedding,
    LinearEmbedding,
    Periodic,
    PiecewiseLinear,
    activation_of_rows,
)

EMBED_MISSING = ("periodic", "piecewise_linear")  # layers that embed a missing number as zeros
EMBED_EACH = ("autodis", *EMBED_MISSING)  # layers with an embedding for each number of a row


@FEATURES.register("raw_feature")
class RawFeature(Feature):
    """``value_dim`` numbers in each row."""

    later_fields = ("periodic", "piecewise_linear")

    def __init__(
        self,
        shared: SharedFields,
        *,
        boundaries: Sequence[float],
        normalizer: str | None,
        autodis: dict[str, Any] | None,
        mlp: dict[str, Any] | None,
        periodic: dict[str, Any] | None,
        piecewise_linear: dict[str, Any] | None,
    ) -> None:
        super().__init__(shared)
        if self.value_dim < 1:
            raise ConfigError.at("value_dim", f"is {self.value_dim}; give 1 or more")
        setting, dim = shared.setting, shared.embedding_dim
        self._normalize = parse_normalizer(normalizer) if normalizer and setting.raw else None
        self._looked_at_numbers = False
        layers = {  # a oneof: at most one is set
            "autodis": autodis,
            "mlp": mlp,
            "periodic": periodic,
            "piecewise_linear": piecewise_linear,
        }
        self._layer = next((name for name, fields in layers.items() if fields is not None), None)
        self._settings = layers.get(self._layer)
        self._boundaries = boundaries
        self._lookup = Boundaries(boundaries) if boundaries else None
        if self._layer == "piecewise_linear":
            self._check_bins(shared)
            self.row_rule = f"piecewise linear in {self._lookup.row_rule}"
            self._lookup = None
        self._encoded = None  # where the columns hold bucket numbers
        if self._lookup:
            rows = self._lookup.rows
            self._encoded = Identity(rows, "ROW_ZERO", encoded=True) if setting.encoded else None
            self.row_rule = (self._encoded or self._lookup).row_rule
        self._check_embedding(shared)
        if self._lookup:
            self.table = shared.table(self._lookup.rows)
        self._default_path = shared.default_path
        self._default_id = Default(shared, self._encoded) if self._encoded else None
        self._default = np.zeros(0) if self._encoded else self._parse_default(shared)
        self.width = dim or self.value_dim
        if self._layer in EMBED_EACH:
            self.width = dim * self.value_dim
        self.may_be_missing = self._layer in EMBED_MISSING and not len(self._default)

    def _check_bins(self, shared: SharedFields) -> None:
        PiecewiseLinear.check(self._boundaries)
        if shared.setting.encoded:
            words = "needs numbers, but under fg_mode: FG_NONE the column of a feature with"
            remedy = "use FG_DAG or FG_BUCKETIZE with a column of numbers, or remove this"
            raise ConfigError.at(self._layer, f"{words} boundaries holds buckets; {remedy}")

    def _check_embedding(self, shared: SharedFields) -> None:
        if self._lookup and self._layer:
            raise ConfigError.at(self._layer, "is set, and so is boundaries; keep one")
        if self._lookup or self._layer:
            shared.dim()
        elif shared.embedding_dim:
            words = "has no effect without boundaries, autodis, mlp or periodic; add one"
            raise ConfigError.at("embedding_dim", words)
        if not self._layer:
            return
        fields = self._settings
        with within(self._layer):
            if self._layer == "autodis":
                AutoDis.check(fields["num_channels"], fields["temperature"])
            if self._layer == "periodic":
                Periodic.check(fields["frequencies"], fields["sigma"])
            if self._layer in EMBED_MISSING:
                activation_of_rows(fields["activation"], 1, 1)

    def _parse_default(self, shared: SharedFields) -> np.ndarray:
        """The numbers that replace a missing value; none if the field is ``""``."""
        path, text = shared.default_path, shared.default_text
        numbers = [parse_number(part) for part in text.split(self.separator)] if text else []
        if None in numbers or not np.isfinite(as_float32(np.array(numbers, float))).all():
            raise ConfigError.at(path, f"is {text!r}; give a finite 32-bit number")
        if len(numbers) not in (0, 1, self.value_dim):
            words = f"has {len(numbers)} numbers; give 1, or value_dim ({self.value_dim}) of them"
            raise ConfigError.at(path, words)
        return np.array(numbers * self.value_dim if len(numbers) == 1 else numbers)

    @classmethod
    def idle(cls, fields: Mapping[str, Any], setting: FeatureSettings) -> Iterator[tuple[str, str]]:
        yield from super().idle(fields, setting)
        if not setting.raw:
            yield "normalizer", f"under fg_mode: {setting.fg_mode}"
        is_encoded = fields.get("piecewise_linear") is not None
        if is_encoded or not fields["boundaries"]:
            for name in OF_A_TABLE:
                yield name, "with piecewise_linear" if is_encoded else "without boundaries"

    def values(self, arrays: Sequence[Jagged]) -> Jagged:
        rows = self._rows(*self._filled(*self._numbers(arrays)))
        return replace(rows, values=pa.array(rows.values))

    def encode(self, arrays: Sequence[Jagged]) -> tuple[Jagged | np.ndarray, Tally]:
        if self._default_id:
            return self._default_id.fill(*look_up(self._encoded, *arrays))
        numbers, absent = self._numbers(arrays)
        num_missing = int(absent.any(axis=1).sum())
        tally = Tally(missing=num_missing, defaulted=num_missing if len(self._default) else 0)
        numbers, absent = self._filled(numbers, absent)
        if self._lookup:
            return self._rows(self._lookup.bucket(numbers), absent), tally
        if absent.any() and not self.may_be_missing:
            row = int(np.flatnonzero(absent.any(axis=1))[0])
            raise BadValue(row, f"has no value; set {self._default_path} to give it one")
        return as_float32(numbers), tally

    def _filled(self, numbers: np.ndarray, absent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """With the default, if there is one, where numbers are absent; and where they still are."""
        if not len(self._default) or not absent.any():
            return numbers, absent
        filled = np.where(absent, self._default, numbers).astype(numbers.dtype)
        return filled, np.zeros_like(absent)

    def _rows(self, values: np.ndarray, absent: np.ndarray) -> Jagged:
        """Of (B, value_dim), without those that are absent."""
        if absent.any():
            return Jagged(values[~absent], (~absent).sum(axis=1))
        lengths = None if self.value_dim == 1 else np.full(len(values), self.value_dim)
        return Jagged(values.ravel(), lengths)

    def _numbers(self, arrays: Sequence[Jagged]) -> tuple[np.ndarray, np.ndarray]:
        """Normalized numbers and where they are absent, both (B, value_dim).

        float64, or float32 if the column is and there is no normalizer.
        """
        (values,) = (plain(array) for array in arrays)
        try:
            flat = as_numbers(values.values)
        except BadValue as bad:
            raise BadValue(values.row_of(bad.row), f"{bad.text}; {NOT_A_NUMBER}") from bad
        numbers = np.full((values.num_rows, self.value_dim), np.nan)
        lengths = values.counts
        wrong = np.flatnonzero((lengths != 0) & (lengths != self.value_dim))
        if len(wrong):
            count = int(lengths[wrong[0]])
            what = "one number" if count == 1 else f"{count} numbers"
            words = f"has {what}, not value_dim ({self.value_dim}); nulls in a list do not count"
            raise BadValue(int(wrong[0]), words)
        numbers[lengths > 0] = flat.reshape(-1, self.value_dim)
        absent = np.isnan(numbers)
        unnormalized = numbers
        if isinstance(self._normalize, Log10) and not self._looked_at_numbers:
            self._looked_at_numbers = warn_of_small(self.name, numbers.ravel(), self._normalize)
        if self._normalize:
            with np.errstate(all="ignore"):
                # A formula can turn NaN into a number: NaN > 0 is 0.
                numbers = np.where(absent, np.nan, self._normalize(numbers))
        bad = ~(np.isfinite(numbers if self._lookup else as_float32(numbers)) | absent)
        if bad.any():
            row, place = (int(index) for index in np.argwhere(bad)[0])
            number = f"{exactly(unnormalized[row, place])}"
            remedy = f"set a normalizer that limits it, or {OR_MISSING}"
            if self._normalize:
                number += f" becomes {exactly(numbers[row, place])} by the normalizer, which"
                remedy = "give a normalizer that holds for all values"
            raise BadValue(row, f"{number} is not a finite 32-bit number; {remedy}")
        kind = values.values.type
        if self._normalize or not (pa.types.is_float32(kind) or pa.types.is_float16(kind)):
            return numbers, absent
        return numbers.astype(np.float32), absent

    def embedder(self) -> nn.Module | None:
        fields = self._settings
        if self._layer is None:
            return None
        if self._layer == "mlp":
            return LinearEmbedding(self.value_dim, self.width)
        dim = self.width // self.value_dim
        if self._layer == "autodis":
            return AutoDis(self.value_dim, dim, **fields)
        if self._layer == "piecewise_linear":
            encoding = PiecewiseLinear(self._boundaries)
        else:
            waves = {name: fields[name] for name in ("frequencies", "sigma")}
            encoding = Periodic(self.value_dim, **waves)
        return EncodedEmbedding(encoding, self.value_dim, dim, activation=fields["activation"])
