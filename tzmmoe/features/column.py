"""An Arrow column of any type -> its values, flat, with the number that each row has."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.features.forms import BadType, BadValue, as_numbers, as_text, is_number, is_text


@dataclass(frozen=True)
class Values:
    """The values of B rows; row b has the next ``lengths[b]`` of ``flat``.

    flat: no nulls, no NaN, no empty texts. lengths: (B,) int64, None when each row has one.
    weights: (N,) float32. codes: when set, the values are ``flat[codes]`` instead, so that each
    distinct value is looked at once.
    """

    flat: pa.Array
    lengths: np.ndarray | None = None
    weights: np.ndarray | None = None
    codes: np.ndarray | None = None

    @property
    def num_values(self) -> int:
        return len(self.flat) if self.codes is None else len(self.codes)

    @property
    def num_rows(self) -> int:
        return self.num_values if self.lengths is None else len(self.lengths)

    def row_of(self, value: int) -> int:
        """The row that the value with this number belongs to."""
        if self.lengths is None:
            return value
        return int(np.searchsorted(np.cumsum(self.lengths), value, side="right"))

    def missing(self) -> np.ndarray | None:
        """(B,) bool, True for rows without value; None when all have one."""
        if self.lengths is None:
            return None
        empty = self.lengths == 0
        return empty if empty.any() else None

    def first(self, most: int) -> "Values":
        """At most so many values of each row; the rest is left out."""
        if self.lengths is None or not (self.lengths > most).any():
            return self
        starts = np.cumsum(self.lengths) - self.lengths
        place = np.arange(self.num_values) - np.repeat(starts, self.lengths)
        return self._keep(place < most, np.minimum(self.lengths, most))

    def without(self, rows: np.ndarray) -> "Values":
        """The same, with no values in the rows (B,) bool."""
        lengths = np.ones(self.num_rows, np.int64) if self.lengths is None else self.lengths
        return self._keep(~np.repeat(rows, lengths), np.where(rows, 0, lengths))

    def filled(self, default: pa.Array) -> "Values":
        """The same, with texts in the rows that have no value."""
        empty = self.missing()
        if empty is None or not len(default):
            return self
        plain = self.plain()
        flat = pa.concat_arrays([as_text(plain.flat), default.cast(pa.large_string())])
        lengths = np.where(empty, len(default), self.lengths)
        fresh = np.repeat(empty, lengths)
        take = np.empty(len(fresh), np.int64)
        take[~fresh] = np.arange(len(plain.flat))
        take[fresh] = len(plain.flat) + np.tile(np.arange(len(default)), int(empty.sum()))
        weights = None
        if plain.weights is not None:
            weights = np.ones(len(take), np.float32)
            weights[~fresh] = plain.weights
        return Values(flat.take(pa.array(take)), lengths, weights)

    def passed(self, weighted: bool) -> "Values":
        """What a feature reads of another feature: weights only if it is ``weighted``.

        Raises as read does.
        """
        if not weighted:
            return replace(self, weights=None)
        if self.weights is not None or not self.num_values:
            return self
        return _weighted(self.plain())

    def plain(self) -> "Values":
        """The same without codes."""
        if self.codes is None:
            return self
        return replace(self, flat=self.flat.take(pa.array(self.codes)), codes=None)

    def where(self, kept: np.ndarray) -> "Values":
        """Only the values with True in (N,) bool."""
        if kept.all():
            return self
        if self.lengths is None:
            return self._keep(kept, kept.astype(np.int64))
        rows = np.repeat(np.arange(self.num_rows), self.lengths)
        return self._keep(kept, np.bincount(rows[kept], minlength=self.num_rows))

    def _keep(self, kept: np.ndarray, lengths: np.ndarray) -> "Values":
        weights = None if self.weights is None else self.weights[kept]
        if self.codes is not None:
            return Values(self.flat, lengths, weights, self.codes[kept])
        return Values(self.flat.filter(pa.array(kept)), lengths, weights)


def read(column: pa.Array, separator: str, weighted: bool) -> Values:
    """The values of a column.

    Text is split at ``separator``. With ``weighted``, text is ``value:weight`` and a map gives
    value -> weight. Nulls, NaN and empty texts are no values.

    Raises:
        BadType: an Arrow type that holds no values, such as a struct.
        BadValue: a weight that is no number, or bytes that are no text.
    """
    if pa.types.is_dictionary(column.type):
        coded = None if weighted else _coded(column, separator)
        if coded is not None:
            return coded
        column = decoded(column)
    if pa.types.is_map(column.type):
        return _read_map(column, weighted)
    values = _present(_read_list(column) if is_list(column.type) else Values(decoded(column)))
    kind = values.flat.type
    if pa.types.is_null(kind):
        return replace(values, flat=values.flat.cast(pa.large_string()))
    if is_text(kind):
        values = _split(_as_text(values), separator)
        return _weighted(values) if weighted else values
    if not is_number(kind):
        raise BadType(f"{column.type} cannot be used as values")
    if weighted:
        raise _unweighted(column.type)
    return values


def decoded(column: pa.Array) -> pa.Array:
    """Without dictionary, and without views, for which Arrow lacks functions."""
    if pa.types.is_dictionary(column.type):
        return decoded(column.dictionary).take(column.indices)
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(column.type):
        return column.cast(pa.large_binary())
    return column


def is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _coded(column: pa.DictionaryArray, separator: str) -> Values | None:
    """Look at each distinct text once. None when a text holds several values, or is none."""
    words = column.dictionary
    if not is_text(words.type) or words.null_count or len(words) > len(column):
        return None
    try:
        words = as_text(words)
    except BadValue:  # perhaps a word that no row uses
        return None
    if pc.any(pc.or_(pc.equal(words, ""), pc.match_substring(words, separator))).as_py():
        return None
    codes = column.indices
    if codes.null_count == 0:
        return Values(words, codes=codes.to_numpy(zero_copy_only=False).astype(np.int64))
    present = codes.is_valid().to_numpy(zero_copy_only=False)
    kept = codes.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    return Values(words, present.astype(np.int64), codes=kept)


def _read_list(column: pa.Array) -> Values:
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    return Values(decoded(column.flatten()), lengths.astype(np.int64))


def _read_map(column: pa.MapArray, weighted: bool) -> Values:
    if not weighted:
        raise BadType(f"{column.type} holds weights; set weighted: true")
    if column.null_count:
        column = pc.if_else(column.is_valid(), column, pa.scalar([], column.type))
    lengths = np.diff(column.offsets.to_numpy()).astype(np.int64)
    begin, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
    keys, items = decoded(column.keys[begin:end]), column.items[begin:end]
    if not (is_text(keys.type) or is_number(keys.type)):
        raise BadType(f"{keys.type} cannot be used as values")
    if not (is_number(items.type) or pa.types.is_null(items.type)):
        raise BadType(f"{column.type} holds no numbers as weights")
    values = Values(keys, lengths)
    if items.null_count:
        row = values.row_of(int(np.flatnonzero(items.is_null())[0]))
        raise BadValue(row, "a weight is null")
    values = _with_weights(values, as_numbers(items))
    if not is_text(keys.type):
        return _present(values)
    values = _as_text(values)
    return values.where(_not_empty(values.flat))


def _present(values: Values) -> Values:
    """Leave out nulls and NaN."""
    valid = values.flat.is_valid()
    if pa.types.is_floating(values.flat.type):
        valid = pc.and_(valid, pc.invert(pc.is_nan(values.flat).fill_null(True)))
    return values.where(valid.to_numpy(zero_copy_only=False))


def _not_empty(texts: pa.Array) -> np.ndarray:
    return pc.not_equal(texts, "").to_numpy(zero_copy_only=False)


def _as_text(values: Values) -> Values:
    try:
        return replace(values, flat=as_text(values.flat))
    except BadValue as bad:
        raise BadValue(values.row_of(bad.row), bad.text) from bad


def _split(values: Values, separator: str) -> Values:
    """Cut texts at the separator; empty parts are no values."""
    flat, lengths = values.flat, values.lengths
    if pc.any(pc.match_substring(flat, separator)).as_py():
        parts = pc.split_pattern(flat, separator)
        counts = pc.list_value_length(parts).to_numpy(zero_copy_only=False).astype(np.int64)
        if lengths is None:
            lengths = counts
        else:
            ends = np.concatenate([[0], np.cumsum(counts)])
            edges = np.concatenate([[0], np.cumsum(lengths)])
            lengths = np.diff(ends[edges])
        flat = parts.flatten()
    return Values(flat, lengths).where(_not_empty(flat))


def _weighted(values: Values) -> Values:
    """``value:weight`` -> the two. The last colon separates."""
    if not is_text(values.flat.type):
        raise _unweighted(values.flat.type)
    parts = pc.split_pattern(values.flat, ":", max_splits=1, reverse=True)
    lacking = pc.equal(pc.list_value_length(parts), 1).to_numpy(zero_copy_only=False)
    try:
        if lacking.any():
            raise BadValue(int(np.flatnonzero(lacking)[0]), "no colon")
        weights = as_numbers(pc.list_element(parts, 1))
    except BadValue as bad:
        found = values.flat[bad.row].as_py()
        row = values.row_of(bad.row)
        raise BadValue(row, f"{found!r} is not of the form value:weight") from bad
    keys = pc.list_element(parts, 0)
    return _with_weights(replace(values, flat=keys), weights).where(_not_empty(keys))


def _with_weights(values: Values, weights: np.ndarray) -> Values:
    with np.errstate(over="ignore"):
        narrow = weights.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(narrow))
    if len(bad):
        number = int(bad[0])
        raise BadValue(values.row_of(number), f"{weights[number]:g} is no finite weight")
    return replace(values, weights=narrow)


def _unweighted(kind: pa.DataType) -> BadType:
    return BadType(f"{kind} holds no weights; give text like value:weight, or a map")
