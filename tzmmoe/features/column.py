"""An Arrow column of any type -> its values as a ``Jagged``, without nulls, NaN and empty texts."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.errors import exactly
from tzmmoe.features.forms import (
    BadType,
    BadValue,
    as_float32,
    as_numbers,
    as_text,
    is_number,
    is_text,
)
from tzmmoe.jagged import Jagged


def read(column: pa.Array, separator: str, weighted: bool, dates: bool = False) -> Jagged:
    """The values of a column.

    Text is split at ``separator``. With ``weighted``, text is ``value:weight``, and a map is
    value -> weight. Nulls, NaN and empty texts do not count as values. Dates and times are values
    only with ``dates``.

    Raises:
        BadType: an Arrow type that cannot hold values, such as a struct.
        BadValue: a weight that is not a number, or bytes that are not text.
    """
    if pa.types.is_dictionary(column.type):
        coded = None if weighted else _coded(column, separator)
        if coded is not None:
            return coded
        column = decoded(column)
    if pa.types.is_map(column.type):
        return _read_map(column, weighted)
    rows = _present(_read_list(column) if is_list(column.type) else Jagged(decoded(column)))
    kind = rows.values.type
    if pa.types.is_null(kind):
        return replace(rows, values=rows.values.cast(pa.large_string()))
    if is_text(kind):
        rows = _split(_as_text(rows), separator)
        return _weighted(rows) if weighted else rows
    if not (is_number(kind) or (dates and pa.types.is_temporal(kind))):
        raise _not_values(column.type, kind)
    if not weighted:
        return rows
    if rows.num_values:
        raise _no_weights(column.type)
    return replace(rows, values=rows.values.cast(pa.large_string()))


def plain(rows: Jagged) -> Jagged:
    """The same values without dictionary encoding."""
    return replace(rows, values=decoded(rows.values))


def distinct(flat: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """A dictionary's entries and the entry (N,) of each value, so that a text which repeats is
    looked at once; values that are not dictionary-encoded as they are, and None."""
    if not pa.types.is_dictionary(flat.type):
        return flat, None
    return flat.dictionary, flat.indices.to_numpy(zero_copy_only=False)


def filled(rows: Jagged, texts: pa.Array) -> Jagged:
    """The same, with ``texts`` as the values of each row that has none."""
    if not len(texts) or rows.empty() is None:
        return rows
    default = Jagged(texts.cast(pa.large_string()), np.array([len(texts)]))
    return _as_text(plain(rows)).filled(default)


def reread(rows: Jagged, weighted: bool) -> Jagged:
    """Another feature's values as a feature reads them: with weights only if it is ``weighted``.

    Raises what ``read`` raises.
    """
    if not weighted:
        return replace(rows, weights=None)
    if rows.weights is not None or not rows.num_values:
        return rows
    return _weighted(plain(rows))


def decoded(column: pa.Array) -> pa.Array:
    """Without dictionary encoding, without views, which many Arrow functions do not take, and
    without names for what is stored, such as UUID or JSON."""
    if isinstance(column, pa.ExtensionArray):
        return decoded(column.storage)
    if pa.types.is_dictionary(column.type):
        return decoded(column.dictionary).take(column.indices)
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(column.type):
        return column.cast(pa.large_binary())
    if pa.types.is_list_view(column.type) or pa.types.is_large_list_view(column.type):
        # Not by Arrow's cast, which empties the last list of a column.
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        ends = pa.array(np.cumsum([0, *lengths]), pa.int64())
        return pa.LargeListArray.from_arrays(ends, column.flatten(), mask=column.is_null())
    return column


def is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _coded(column: pa.DictionaryArray, separator: str) -> Jagged | None:
    """The column still dictionary-encoded; None when an entry is empty or holds several values."""
    entries = column.dictionary
    if not is_text(entries.type) or entries.null_count or len(entries) > len(column):
        return None
    try:
        entries = as_text(entries)
    except BadValue:  # perhaps an entry that no row uses
        return None
    if pc.any(pc.or_(pc.equal(entries, ""), pc.match_substring(entries, separator))).as_py():
        return None
    codes = column.indices
    lengths = None
    if codes.null_count:
        lengths = codes.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
        codes = codes.drop_null()
    return Jagged(pa.DictionaryArray.from_arrays(codes, entries, safe=False), lengths)


def _read_list(column: pa.Array) -> Jagged:
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    return Jagged(decoded(column.flatten()), lengths.astype(np.int64))


def _read_map(column: pa.MapArray, weighted: bool) -> Jagged:
    if not weighted:
        raise BadType(f"{column.type} holds weights; set weighted: true")
    if column.null_count:
        column = pc.if_else(column.is_valid(), column, pa.scalar([], column.type))
    lengths = np.diff(column.offsets.to_numpy()).astype(np.int64)
    begin, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
    keys, items = decoded(column.keys[begin:end]), column.items[begin:end]
    if not (is_text(keys.type) or is_number(keys.type)):
        raise _not_values(column.type, keys.type)
    if not (is_number(items.type) or pa.types.is_null(items.type)):
        raise BadType(f"{column.type}: weights are {items.type}; store them as numbers")
    rows = Jagged(keys, lengths)
    if items.null_count:
        row = rows.row_of(int(np.flatnonzero(items.is_null())[0]))
        raise BadValue(row, "a weight is null; give a number")
    rows = _with_weights(rows, as_numbers(items))
    if not is_text(keys.type):
        return _present(rows)
    rows = _as_text(rows)
    return rows.keep(_not_empty(rows.values))


def _present(rows: Jagged) -> Jagged:
    """Without nulls and NaN."""
    valid = rows.values.is_valid()
    if pa.types.is_floating(rows.values.type):
        valid = pc.and_(valid, pc.invert(pc.is_nan(rows.values).fill_null(True)))
    return rows.keep(valid.to_numpy(zero_copy_only=False))


def _not_empty(texts: pa.Array) -> np.ndarray:
    return pc.not_equal(texts, "").to_numpy(zero_copy_only=False)


def _as_text(rows: Jagged) -> Jagged:
    try:
        return replace(rows, values=as_text(rows.values))
    except BadValue as bad:
        raise BadValue(rows.row_of(bad.row), bad.text) from bad


def _split(rows: Jagged, separator: str) -> Jagged:
    """Each text cut at the separator, without empty parts."""
    flat, lengths = rows.values, rows.lengths
    if pc.any(pc.match_substring(flat, separator)).as_py():
        parts = pc.split_pattern(flat, separator)
        counts = pc.list_value_length(parts).to_numpy(zero_copy_only=False).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(counts)])
        lengths = counts if lengths is None else np.diff(ends[rows.starts])
        flat = parts.flatten()
    return Jagged(flat, lengths).keep(_not_empty(flat))


def _weighted(rows: Jagged) -> Jagged:
    """``value:weight``, cut at the last colon."""
    if not is_text(rows.values.type):
        raise _no_weights(rows.values.type)
    parts = pc.split_pattern(rows.values, ":", max_splits=1, reverse=True)
    bare = pc.equal(pc.list_value_length(parts), 1).to_numpy(zero_copy_only=False)
    try:
        if bare.any():
            raise BadValue(int(np.flatnonzero(bare)[0]), "no colon")
        weights = as_numbers(pc.list_element(parts, 1))
    except BadValue as bad:
        text = rows.values[bad.row].as_py()
        row = rows.row_of(bad.row)
        words = f"{text!r} is not of the form value:weight; write a number after a colon"
        raise BadValue(row, f"{words}, or remove weighted") from bad
    keys = pc.list_element(parts, 0)
    return _with_weights(replace(rows, values=keys), weights).keep(_not_empty(keys))


def _with_weights(rows: Jagged, weights: np.ndarray) -> Jagged:
    narrow = as_float32(weights)
    bad = np.flatnonzero(~np.isfinite(narrow))
    if len(bad):
        place = int(bad[0])
        raise BadValue(
            rows.row_of(place),
            f"{exactly(weights[place])} is not a finite 32-bit weight; give one below 3e38",
        )
    return replace(rows, weights=narrow)


def _not_values(kind: pa.DataType, values: pa.DataType) -> BadType:
    """``values``: what a column of type ``kind`` holds."""
    remedy = "store numbers, text, or lists of these"
    if pa.types.is_temporal(values):
        is_span = pa.types.is_duration(values) or pa.types.is_interval(values)
        remedy = "store numbers" if is_span else "set date_part to use a part of it"
    return BadType(f"{kind} cannot be used as values; {remedy}")


def _no_weights(kind: pa.DataType) -> BadType:
    return BadType(f"{kind} has no weights; give text such as value:weight, or a map")
