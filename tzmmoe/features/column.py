"""An Arrow column of any type -> its values, flat, with the number that each row has."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.features.forms import BadType, BadValue, as_text, is_number, is_text, parse_number


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

    def filled(self, default: str) -> "Values":
        """The same, with a text in the rows that have no value."""
        empty = self.missing()
        if empty is None:
            return self
        plain = self.plain()
        flat = pa.concat_arrays([as_text(plain.flat), pa.array([default], pa.string())])
        lengths = np.maximum(self.lengths, 1)
        from_row = np.repeat(empty, lengths)
        take = np.full(len(from_row), len(plain.flat))
        take[~from_row] = np.arange(len(plain.flat))
        weights = None
        if plain.weights is not None:
            weights = np.ones(len(take), np.float32)
            weights[~from_row] = plain.weights
        return Values(flat.take(pa.array(take)), lengths, weights)

    def plain(self) -> "Values":
        """The same without codes."""
        if self.codes is None:
            return self
        return replace(self, flat=self.flat.take(pa.array(self.codes)), codes=None)

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
        BadValue: a weight that is no number.
    """
    if pa.types.is_dictionary(column.type):
        coded = None if weighted else _coded(column, separator)
        if coded is not None:
            return coded
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        return Values(pa.array([], pa.string()), np.zeros(len(column), np.int64))
    if pa.types.is_map(column.type):
        return _read_map(column, weighted)
    values = _read_list(column) if _is_list(column.type) else _dropped(column, None)
    if is_text(values.flat.type):
        values = _split(replace(values, flat=values.flat.cast(pa.large_string())), separator)
        return _weighted(values) if weighted else values
    if weighted:
        raise BadType(f"{column.type} holds no weights; give text like value:weight, or a map")
    if not is_number(values.flat.type):
        raise BadType(f"{column.type} cannot be used as values")
    return values


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _coded(column: pa.DictionaryArray, separator: str) -> Values | None:
    """Look at each distinct text once. None when a text holds several values, or is none."""
    words = column.dictionary
    if not is_text(words.type) or words.null_count or len(words) > len(column):
        return None
    words = words.cast(pa.large_string())
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
    flat = column.flatten()
    if pa.types.is_dictionary(flat.type):
        flat = flat.cast(flat.type.value_type)
    return _dropped(flat, lengths.astype(np.int64))


def _read_map(column: pa.MapArray, weighted: bool) -> Values:
    if not weighted:
        raise BadType(f"{column.type} holds weights; set weighted: true")
    if column.null_count:
        column = pc.if_else(column.is_valid(), column, pa.scalar([], column.type))
    lengths = np.diff(column.offsets.to_numpy()).astype(np.int64)
    begin, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
    keys, items = column.keys[begin:end], column.items[begin:end]
    if not is_number(items.type):
        raise BadType(f"{column.type} holds no numbers as weights")
    weights = items.cast(pa.float64()).to_numpy(zero_copy_only=False)
    values = Values(keys, lengths)
    if np.isnan(weights).any():
        row = values.row_of(int(np.flatnonzero(np.isnan(weights))[0]))
        raise BadValue(row, "a weight is null")
    return replace(values, weights=weights.astype(np.float32))


def _dropped(flat: pa.Array, lengths: np.ndarray | None) -> Values:
    """Leave out nulls and NaN."""
    valid = flat.is_valid()
    if pa.types.is_floating(flat.type):
        valid = pc.and_(valid, pc.invert(pc.is_nan(flat).fill_null(True)))
    return _kept(flat, lengths, valid.to_numpy(zero_copy_only=False))


def _kept(flat: pa.Array, lengths: np.ndarray | None, kept: np.ndarray) -> Values:
    if kept.all():
        return Values(flat, lengths)
    if lengths is None:
        return Values(flat.filter(pa.array(kept)), kept.astype(np.int64))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return Values(flat.filter(pa.array(kept)), np.bincount(rows[kept], minlength=len(lengths)))


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
    return _kept(flat, lengths, pc.not_equal(flat, "").to_numpy(zero_copy_only=False))


def _weighted(values: Values) -> Values:
    """``value:weight`` -> the two. The last colon separates."""
    parts = pc.split_pattern(values.flat, ":", max_splits=1, reverse=True)
    counts = pc.list_value_length(parts).to_numpy(zero_copy_only=False)
    bad = np.flatnonzero(counts != 2)
    if not len(bad):
        keys, texts = pc.list_element(parts, 0), pc.list_element(parts, 1)
        try:
            weights = texts.cast(pa.float32()).to_numpy(zero_copy_only=False)
            return Values(keys, values.lengths, weights)
        except pa.ArrowInvalid:
            bad = [i for i, text in enumerate(texts.to_pylist()) if parse_number(text) is None]
    number = int(bad[0])
    found = values.flat[number].as_py()
    raise BadValue(values.row_of(number), f"{found!r} is not of the form value:weight")
