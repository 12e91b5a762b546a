"""Numbers: used as they are, bucketed, or embedded."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from tzmmoe.errors import ConfigError
from tzmmoe.features.base import FEATURES, Feature
from tzmmoe.features.column import plain
from tzmmoe.features.forms import BadValue, as_numbers, parse_number
from tzmmoe.features.lookup import Boundaries, Identity, look_up
from tzmmoe.features.normalizer import normalizer as parse_normalizer
from tzmmoe.features.shared import OF_A_TABLE, Default, Setting, SharedFields, Tally
from tzmmoe.jagged import Jagged
from tzmmoe.nn.numbers import AutoDis, LinearEmbedding


@FEATURES.register("raw_feature")
class RawFeature(Feature):
    """``value_dim`` numbers for each row of data."""

    def __init__(
        self,
        shared: SharedFields,
        *,
        boundaries: Sequence[float],
        normalizer: str | None,
        autodis: dict[str, Any] | None,
        mlp: dict[str, Any] | None,
    ) -> None:
        super().__init__(shared)
        if self.value_dim < 1:
            raise ConfigError.at("value_dim", f"is {self.value_dim}; give 1 or more")
        setting, dim = shared.setting, shared.embedding_dim
        self._normalize = parse_normalizer(normalizer) if normalizer and setting.raw else None
        self._lookup = Boundaries(boundaries) if boundaries else None
        self._encoded = None  # where the columns hold bucket numbers
        if self._lookup:
            rows = self._lookup.rows
            self._encoded = Identity(rows, "ROW_ZERO", encoded=True) if setting.encoded else None
            self.meaning = (self._encoded or self._lookup).meaning
        self._dense = ("autodis", autodis) if autodis is not None else None
        self._dense = ("mlp", mlp) if mlp is not None else self._dense
        self._check_embedding(shared)
        if self._lookup:
            self.table = shared.table(self._lookup.rows)
        self._default_path = shared.default_path
        self._default_id = Default(shared, self._encoded) if self._encoded else None
        self._default = np.zeros(0) if self._encoded else self._parse_default(shared)
        self.width = dim or self.value_dim
        if self._dense and self._dense[0] == "autodis":
            self.width = dim * self.value_dim

    def _check_embedding(self, shared: SharedFields) -> None:
        if self._lookup and self._dense:
            raise ConfigError.at(self._dense[0], "and boundaries are both set; keep one")
        if self._lookup or self._dense:
            shared.dim()
        elif shared.embedding_dim:
            raise ConfigError.at(
                "embedding_dim", "has no effect without boundaries, autodis or mlp; add one"
            )

    def _parse_default(self, shared: SharedFields) -> np.ndarray:
        """Numbers that stand for a missing value; none for ``""``."""
        path, text = shared.default_path, shared.default_text
        numbers = [parse_number(part) for part in text.split(self.separator)] if text else []
        if None in numbers or not np.isfinite(_narrow(np.array(numbers, float))).all():
            raise ConfigError.at(path, f"is {text!r}, which is no number of 32 bits")
        if len(numbers) not in (0, 1, self.value_dim):
            raise ConfigError.at(path, f"has {len(numbers)} numbers for value_dim {self.value_dim}")
        return np.array(numbers * self.value_dim if len(numbers) == 1 else numbers)

    @classmethod
    def idle(cls, fields: Mapping[str, Any], setting: Setting) -> Iterator[tuple[str, str]]:
        yield from super().idle(fields, setting)
        if not setting.raw:
            yield "normalizer", f"under fg_mode: {setting.fg_mode}"
        if not fields["boundaries"]:
            for name in OF_A_TABLE:
                yield name, "without boundaries"

    def values(self, arrays: Sequence[Jagged]) -> Jagged:
        numbers, absent = self._numbers(arrays)
        if not len(self._default):
            kept = ~absent
            return Jagged(pa.array(numbers[kept]), kept.sum(axis=1))
        flat = pa.array(self._filled(numbers, absent).ravel())
        if self.value_dim == 1:
            return Jagged(flat)
        return Jagged(flat, np.full(len(numbers), self.value_dim))

    def encode(self, arrays: Sequence[Jagged]) -> tuple[Jagged | np.ndarray, Tally]:
        if self._default_id:
            return self._default_id.fill(*look_up(self._encoded, *arrays))
        numbers, absent = self._numbers(arrays)
        num_missing = int(absent.any(axis=1).sum())
        has_default = len(self._default) > 0
        tally = Tally(missing=num_missing, defaulted=num_missing if has_default else 0)
        if num_missing and has_default:
            numbers = self._filled(numbers, absent)
        if self._lookup:
            return self._bucketed(numbers, absent if not has_default else None), tally
        if num_missing and not has_default:
            row = int(np.flatnonzero(absent.any(axis=1))[0])
            path = self._default_path
            raise BadValue(row, f"has no value, and {path} is not set to stand for it")
        return _narrow(numbers), tally

    def _filled(self, numbers: np.ndarray, absent: np.ndarray) -> np.ndarray:
        return np.where(absent, self._default, numbers).astype(numbers.dtype)

    def _bucketed(self, numbers: np.ndarray, absent: np.ndarray | None) -> Jagged:
        ids = self._lookup.bucket(numbers)
        if absent is not None and absent.any():
            return Jagged(ids[~absent], (~absent).sum(axis=1))
        lengths = None if self.value_dim == 1 else np.full(len(ids), self.value_dim)
        return Jagged(ids.ravel(), lengths)

    def _numbers(self, arrays: Sequence[Jagged]) -> tuple[np.ndarray, np.ndarray]:
        """Normalized numbers and where they are absent, both (B, value_dim).

        float64, or float32 when the column is and there is no normalizer.
        """
        (values,) = (plain(array) for array in arrays)
        try:
            flat = as_numbers(values.values)
        except BadValue as bad:
            raise BadValue(values.row_of(bad.row), bad.text) from bad
        numbers = np.full((values.num_rows, self.value_dim), np.nan)
        lengths = values.counts
        wrong = np.flatnonzero((lengths != 0) & (lengths != self.value_dim))
        if len(wrong):
            raise BadValue(
                int(wrong[0]),
                f"{lengths[wrong[0]]} numbers instead of value_dim {self.value_dim} (nulls in a "
                "list do not count)",
            )
        numbers[lengths > 0] = flat.reshape(-1, self.value_dim)
        absent = np.isnan(numbers)
        given = numbers
        if self._normalize:
            with np.errstate(all="ignore"):
                numbers = self._normalize(numbers)
        bad = ~(np.isfinite(numbers if self._lookup else _narrow(numbers)) | absent)
        if bad.any():
            row, place = (int(index) for index in np.argwhere(bad)[0])
            found = f"{given[row, place]:g}"
            if self._normalize:
                found += f": the normalizer makes {numbers[row, place]:g}, which"
            raise BadValue(row, f"{found} is no finite number of 32 bits")
        if self._normalize or not _is_narrow(values.values.type):
            return numbers, absent
        return numbers.astype(np.float32), absent

    def embedder(self) -> nn.Module | None:
        if self._dense is None:
            return None
        word, settings = self._dense
        dim = self.width if word == "mlp" else self.width // self.value_dim
        if word == "mlp":
            return LinearEmbedding(self.value_dim, dim)
        return AutoDis(self.value_dim, dim, **settings)


def _narrow(numbers: np.ndarray) -> np.ndarray:
    """In the model's precision; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _is_narrow(kind: pa.DataType) -> bool:
    return pa.types.is_float32(kind) or pa.types.is_float16(kind)
