"""The forms that a value takes: text, whole number, number."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class BadValue(Exception):
    """A value that cannot mean what its feature or label needs.

    ``row`` counts within the batch; where rows are not known yet, within the values.
    """

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row
        self.text = text


class BadType(Exception):
    """A column whose Arrow type cannot mean what its feature or label needs."""


def is_text(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def is_number(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def as_text(flat: pa.Array) -> pa.Array:
    """The text that stands for each value in hashes and vocabularies.

    Whole numbers are written as integers, whether they are stored as integers, floats or decimals;
    other numbers as the shortest decimal that reads back the same; true and false as 1 and 0. So a
    flag or a nullable integer gets the same id whatever type a tool stored it in.
    """
    kind = flat.type
    if is_text(kind):
        return flat.cast(pa.large_string())
    if pa.types.is_boolean(kind):
        return flat.cast(pa.int8()).cast(pa.large_string())
    if pa.types.is_decimal(kind):
        text = flat.cast(pa.string())
        text = pc.replace_substring_regex(text, r"(\.\d*?)0+$", r"\1")
        return pc.replace_substring_regex(text, r"\.$", "").cast(pa.large_string())
    if pa.types.is_floating(kind):
        wide = flat.cast(pa.float64())
        numbers = wide.to_numpy(zero_copy_only=False)
        whole = (np.floor(numbers) == numbers) & (np.abs(numbers) < 2.0**63)
        integers = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.large_string())
        if whole.all():
            return integers
        shortest = flat if pa.types.is_float32(kind) else wide
        return pc.if_else(pa.array(whole), integers, shortest.cast(pa.large_string()))
    return flat.cast(pa.large_string())


def as_integers(flat: pa.Array) -> np.ndarray:
    """Values without nulls as int64 (uint64 when the column is).

    Raises:
        BadValue: one that is no whole number.
    """
    given = flat
    if pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.int8())
    if pa.types.is_integer(flat.type):
        wide = np.uint64 if pa.types.is_uint64(flat.type) else np.int64
        return flat.to_numpy(zero_copy_only=False).astype(wide, copy=False)
    if is_text(flat.type):
        try:
            return flat.cast(pa.int64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            flat = pa.array(_parsed(flat), pa.float64())
    numbers = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
    bad = np.flatnonzero((np.floor(numbers) != numbers) | (np.abs(numbers) >= 2.0**63))
    if len(bad):
        number = int(bad[0])
        found = given[number].as_py()
        raise BadValue(number, f"{found!r} is no whole number")
    return numbers.astype(np.int64)


def as_numbers(flat: pa.Array) -> np.ndarray:
    """Values without nulls as float64.

    Raises:
        BadValue: one that is no number.
    """
    if not is_text(flat.type):
        flat = flat.cast(pa.int8()) if pa.types.is_boolean(flat.type) else flat
        return flat.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    try:
        return flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return np.array(_parsed(flat))


def _parsed(flat: pa.Array) -> list[float]:
    """Texts as numbers, one by one: the slow way, which finds the one that is none."""
    numbers = []
    for number, text in enumerate(flat.to_pylist()):
        parsed = parse_number(text)
        if parsed is None:
            raise BadValue(number, f"{text!r} is no number")
        numbers.append(parsed)
    return numbers


def parse_number(text: str) -> float | None:
    try:
        return float(text.strip())
    except ValueError:
        return None
