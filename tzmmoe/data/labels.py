"""Label, weight and group columns -> arrays."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.batch import Column
from tzmmoe.features.forms import BadType, BadValue, as_numbers, as_text, is_number, is_text
from tzmmoe.features.hashing import hash_texts


def read(column: Column, array: pa.Array) -> np.ndarray:
    """float32 (B,) or (B, C) for labels and weights, int64 (B,) for groups.

    Raises:
        BadType: the column's type cannot be used so.
        BadValue: a value that is out of range or no number, or a weight that is missing.
    """
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if column.role == "group":
        return _groups(array)
    if pa.types.is_null(array.type):
        numbers = np.full(len(array), np.nan)
    elif is_number(array.type) or is_text(array.type):
        numbers = _numbers(array)
    elif column.num_classes and _is_list(array.type):
        return _distributions(column, array)
    else:
        raise BadType(f"{array.type} cannot be used as {column.role}; give numbers")
    _check(column, numbers)
    return numbers.astype(np.float32)


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _numbers(array: pa.Array) -> np.ndarray:
    """float64 with NaN for nulls and empty texts."""
    present = array.is_valid()
    if is_text(array.type):
        array = array.cast(pa.large_string())
        present = pc.and_(present, pc.not_equal(array, "").fill_null(False))
    kept = present.to_numpy(zero_copy_only=False)
    numbers = np.full(len(array), np.nan)
    try:
        numbers[kept] = as_numbers(array.filter(present))
    except BadValue as bad:
        raise BadValue(int(np.flatnonzero(kept)[bad.row]), bad.text) from bad
    return numbers


def _check(column: Column, numbers: np.ndarray) -> None:
    missing = np.isnan(numbers)
    if column.role == "weight" and missing.any():
        raise BadValue(int(np.flatnonzero(missing)[0]), "the weight is missing; give a number")
    if column.num_classes:
        bad = ~missing & (np.floor(numbers) != numbers)
        _refuse(bad, numbers, "is no whole number; a class counts from 0")
    bad = ~missing & ~((numbers >= column.low) & (numbers <= column.high) & np.isfinite(numbers))
    if column.role == "weight":
        _refuse(bad, numbers, "is no weight; give a finite number, 0 or more")
    _refuse(bad, numbers, f"is no label within [{column.low:g}, {column.high:g}] for its loss")


def _refuse(bad: np.ndarray, numbers: np.ndarray, text: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise BadValue(row, f"{numbers[row]:g} {text}")


def _distributions(column: Column, array: pa.Array) -> np.ndarray:
    """(B, C) probabilities, NaN in rows that are null."""
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((lengths != column.num_classes) & (lengths != 0))
    if len(wrong):
        row = int(wrong[0])
        raise BadValue(row, f"{lengths[row]} probabilities for {column.num_classes} classes")
    flat = array.filter(pa.array(lengths > 0)).flatten()
    labels = np.full((len(array), column.num_classes), np.nan)
    labels[lengths > 0] = _numbers(flat).reshape(-1, column.num_classes)
    bad = np.flatnonzero(~((labels >= 0) & (labels <= 1) | np.isnan(labels)).all(axis=1))
    if len(bad):
        raise BadValue(int(bad[0]), "holds a probability outside [0, 1]")
    return labels.astype(np.float32)


def _groups(array: pa.Array) -> np.ndarray:
    """Whole numbers as they are, else the hash of the text; nulls are a group of their own."""
    if pa.types.is_integer(array.type) and not pa.types.is_uint64(array.type):
        return array.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False).copy()
    if not (is_number(array.type) or is_text(array.type)):
        raise BadType(f"{array.type} cannot tell groups; give whole numbers or text")
    texts = as_text(array).fill_null("")
    return hash_texts(texts, "MURMUR_HASH").view(np.int64)
