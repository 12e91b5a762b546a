"""What a column means to a feature, cell by cell, in plain Python."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa

WORD = 2**64 - 1
NARROW = {pa.float16(): np.float16, pa.float32(): np.float32}

Value = str | int | float | bool | Decimal


def murmur(text: str) -> int:
    """MurmurHash64A as its author wrote it, byte by byte, with the seed of libstdc++."""
    key, m = text.encode(), 0xC6A4A7935BD1E995
    h = 0xC70F6907 ^ (len(key) * m & WORD)
    whole = len(key) // 8 * 8
    for begin in range(0, whole, 8):
        k = sum(key[begin + place] << 8 * place for place in range(8))
        k = k * m & WORD
        k ^= k >> 47
        k = k * m & WORD
        h = (h ^ k) * m & WORD
    for place, byte in enumerate(key[whole:]):
        h ^= byte << 8 * place
    if len(key) > whole:
        h = h * m & WORD
    h ^= h >> 47
    h = h * m & WORD
    return h ^ (h >> 47)


def leaf(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves."""
    while hasattr(kind, "value_type"):
        kind = kind.value_type
    return kind


def values_of(column: pa.Array, separator: str) -> list[list[Value]]:
    """The values of each row; nulls, NaN and empty texts are none."""
    exact = NARROW.get(leaf(column.type), lambda value: value)
    rows = []
    for cell in column.to_pylist():
        row = []
        for part in cell if isinstance(cell, list) else [cell]:
            if isinstance(part, str | bytes):
                text = part if isinstance(part, str) else part.decode()
                row += [word for word in text.split(separator) if word]
            elif part is not None and part == part:
                row.append(exact(part))
        rows.append(row)
    return rows


def weighted_of(column: pa.Array, separator: str) -> list[list[tuple[Value, float]]]:
    """Value and weight of each ``value:weight``, or of each entry of a map."""
    if pa.types.is_map(column.type):
        return [
            [(k, w) for k, w in cell or [] if k not in ("", None)] for cell in column.to_pylist()
        ]
    rows = []
    for texts in values_of(column, separator):
        pairs = [text.rpartition(":") for text in texts]
        rows.append([(value, float(weight)) for value, _, weight in pairs if value])
    return rows


def text_of(value: Value) -> str:
    """1 and 0 for a flag, an integer for a whole number, else the shortest decimal."""
    if isinstance(value, str):
        return value
    if value == int(value):
        return str(int(value))
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return np.format_float_positional(value, unique=True, trim="-")


def hashed(size: int) -> Callable[[Value], int]:
    return lambda value: murmur(text_of(value)) % size


def itself(size: int, out_of_range: str = "ROW_ZERO") -> Callable[[Value], int]:
    def row(value: Value) -> int:
        number = int(Decimal(text_of(value)))
        if 0 <= number < size:
            return number
        return number % size if out_of_range == "MODULO" else 0

    return row


def known(rows: Mapping[str, int], unknown: int) -> Callable[[Value], int]:
    return lambda value: rows.get(text_of(value), unknown)


def bucketed(boundaries: Sequence[float]) -> Callable[[Value], int]:
    """Boundaries as precise as the value: 0.7 in float32 is not below 0.7."""

    def row(value: Value) -> int:
        number = float(value) if isinstance(value, str | Decimal | bool) else value
        exact = np.float32 if isinstance(number, np.float32 | np.float16) else float
        return sum(exact(number) >= exact(boundary) for boundary in boundaries)

    return row


def ids_of(
    column: pa.Array,
    row: Callable[[Value], int],
    *,
    separator: str = "\x1d",
    most: int = 0,
    default: Sequence[Value] = (),
) -> list[list[int]]:
    """The ids of each row of data; ``default`` are the values of a row that has none."""
    return [
        [row(value) for value in values[: most or None] or default]
        for values in values_of(column, separator)
    ]


def by_row(values: Sequence, lengths: Sequence[int] | None) -> list[list]:
    """Flat values and their number in each row -> a list for each row."""
    flat = list(values)
    counts = [1] * len(flat) if lengths is None else list(lengths)
    assert sum(counts) == len(flat)
    rows = []
    for count in counts:
        rows.append(flat[:count])
        flat = flat[count:]
    return rows
