"""Numbers: used as they are, bucketed, or embedded."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from tzmmoe.errors import ConfigError
from tzmmoe.features.base import FEATURES, Feature, Ids, Setting, Tally, table_name
from tzmmoe.features.column import Values
from tzmmoe.features.forms import BadValue, as_numbers, parse_number
from tzmmoe.features.id import (
    checked_dim,
    checked_pooling,
    default_ids,
    default_texts,
    find,
    with_default,
)
from tzmmoe.features.lookup import Boundaries, Identity
from tzmmoe.features.normalizer import normalizer as parse_normalizer
from tzmmoe.nn.numbers import AutoDis, LinearEmbedding
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.initializers import table_initializer
from tzmmoe.tables.table import Table


@FEATURES.register("raw_feature")
class RawFeature(Feature):
    """``value_dim`` numbers for each row of data."""

    def __init__(
        self,
        setting: Setting,
        *,
        feature_name: str,
        expression: str | None,
        embedding_name: str | None,
        embedding_dim: int | None,
        boundaries: Sequence[float],
        value_dim: int,
        normalizer: str | None,
        pooling: str,
        default_value: str,
        separator: str,
        init_fn: str | None,
        use_mask: bool,
        fg_encoded_default_value: str | None,
        trainable: bool,
        autodis: dict[str, Any] | None,
        mlp: dict[str, Any] | None,
        embedding_constraints: Mapping[str, Any] | None,
    ) -> None:
        self.name = feature_name
        self.origin = setting.origin(expression or "", feature_name)
        self.pooling = checked_pooling(pooling, weighted=False)
        self.weighted = False
        self.use_mask = use_mask
        self.separator = setting.separator(separator)
        self.value_dim = value_dim
        if value_dim < 1:
            raise ConfigError.at("value_dim", f"is {value_dim}; give 1 or more")
        encoded = setting.fg_mode == "FG_NONE"
        self._normalize = parse_normalizer(normalizer) if normalizer and setting.raw else None
        self._lookup = Boundaries(boundaries) if boundaries else None
        self._encoded = Identity(len(boundaries) + 1, "ROW_ZERO", encoded=True) if encoded else None
        if self._lookup:
            self.meaning = (self._encoded or self._lookup).meaning
        self._dense = ("autodis", autodis) if autodis is not None else None
        self._dense = ("mlp", mlp) if mlp is not None else self._dense
        self._check_embedding(embedding_dim, boundaries)
        constraints = Constraints.of(embedding_constraints)
        self.table = None
        if boundaries:
            self.table = Table(
                name=table_name(embedding_name, feature_name),
                rows=len(boundaries) + 1,
                dim=checked_dim(embedding_dim),
                trainable=trainable,
                init_text=init_fn or "",
                init=table_initializer(init_fn, len(boundaries) + 1),
                constraints=constraints,
            )
        self._default_place = "fg_encoded_default_value" if encoded else "default_value"
        self._default = self._parse_default(fg_encoded_default_value if encoded else default_value)
        self.width = embedding_dim if embedding_dim else value_dim
        if self._dense and self._dense[0] == "autodis":
            self.width = embedding_dim * value_dim

    def _check_embedding(self, embedding_dim: int | None, boundaries: Sequence[float]) -> None:
        if boundaries and self._dense:
            raise ConfigError.at(self._dense[0], "and boundaries are both set; keep one")
        if self._dense or boundaries:
            checked_dim(embedding_dim)
        elif embedding_dim:
            raise ConfigError.at(
                "embedding_dim", "has no effect without boundaries, autodis or mlp; add one"
            )

    def _parse_default(self, text: str | None) -> np.ndarray:
        """Numbers, or encoded ids, that stand for a missing value; none for ``""``."""
        place = self._default_place
        if self._encoded and self._lookup:
            return default_ids(self._encoded, default_texts(text, self.separator), place)
        numbers = [parse_number(part) for part in text.split(self.separator)] if text else []
        if None in numbers or not np.isfinite(_narrow(np.array(numbers, float))).all():
            raise ConfigError.at(place, f"is {text!r}, which is no number of 32 bits")
        if len(numbers) not in (0, 1, self.value_dim):
            raise ConfigError.at(
                place, f"has {len(numbers)} numbers for value_dim {self.value_dim}"
            )
        return np.array(numbers * self.value_dim if len(numbers) == 1 else numbers)

    def values(self, origin: Values) -> Values:
        numbers, absent = self._numbers(origin)
        if not len(self._default):
            kept = ~absent
            return Values(pa.array(numbers[kept]), kept.sum(axis=1))
        flat = pa.array(self._filled(numbers, absent).ravel())
        if self.value_dim == 1:
            return Values(flat)
        return Values(flat, np.full(len(numbers), self.value_dim))

    def encode(self, origin: Values) -> tuple[Ids | np.ndarray, Tally]:
        if self._encoded and self._lookup:
            ids, outside = find(self._encoded, origin)
            found = Ids(ids, origin.lengths)
            return with_default(found, origin.missing(), self._default, outside, outside=True)
        numbers, absent = self._numbers(origin)
        num_missing = int(absent.any(axis=1).sum())
        has_default = len(self._default) > 0
        tally = Tally(missing=num_missing, defaulted=num_missing if has_default else 0)
        if num_missing and has_default:
            numbers = self._filled(numbers, absent)
        if self._lookup:
            return self._bucketed(numbers, absent if not has_default else None), tally
        if num_missing and not has_default:
            row = int(np.flatnonzero(absent.any(axis=1))[0])
            place = self._default_place
            raise BadValue(row, f"has no value, and {place} is not set to stand for it")
        return _narrow(numbers), tally

    def _filled(self, numbers: np.ndarray, absent: np.ndarray) -> np.ndarray:
        return np.where(absent, self._default, numbers).astype(numbers.dtype)

    def _bucketed(self, numbers: np.ndarray, absent: np.ndarray | None) -> Ids:
        ids = self._lookup.bucket(numbers)
        if absent is not None and absent.any():
            return Ids(ids[~absent], (~absent).sum(axis=1))
        lengths = None if self.value_dim == 1 else np.full(len(ids), self.value_dim)
        return Ids(ids.ravel(), lengths)

    def _numbers(self, origin: Values) -> tuple[np.ndarray, np.ndarray]:
        """Normalized numbers and where they are absent, both (B, value_dim).

        float64, or float32 when the column is and there is no normalizer.
        """
        values = origin.plain()
        try:
            flat = as_numbers(values.flat)
        except BadValue as bad:
            raise BadValue(values.row_of(bad.row), bad.text) from bad
        numbers = np.full((values.num_rows, self.value_dim), np.nan)
        lengths = values.lengths
        if lengths is None:
            lengths = np.ones(values.num_rows, np.int64)
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
        if self._normalize or not _is_narrow(values.flat.type):
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
