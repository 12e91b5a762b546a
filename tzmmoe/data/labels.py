"""Label, weight and group columns -> arrays."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.batch import NO_GROUP, Column
from tzmmoe.errors import did_you_mean, exactly
from tzmmoe.features.column import decoded, is_list
from tzmmoe.features.forms import (
    BadType,
    BadValue,
    as_float32,
    as_integers,
    as_numbers,
    as_text,
    canonical,
    is_number,
    is_text,
)
from tzmmoe.features.hashing import hash_texts

ANSWERS = ("yes", "no", "y", "n", "t", "f", "true", "false", "on", "off")
ABSENT = ("n/a", "na", "null", "none", "nil", "\\n", "missing", "unknown", "-", "?", "#n/a")
SUM_TOLERANCE = 1e-3  # of a distribution, whose numbers may have few digits
WHOLE = r"^(0|[1-9][0-9]{0,18}|-[1-9][0-9]{0,17})$"  # as an integer is written; fits into 64 bits


def read(column: Column, array: pa.Array) -> np.ndarray:
    """float32 (B,) or (B, C) for labels and weights, int64 (B,) for groups.

    Raises:
        BadType: a column whose type does not suit its role.
        BadValue: a value that is out of range or not a number, or a missing weight.
    """
    array = decoded(array)
    if column.role == "group":
        return groups_of(array)
    if column.num_classes and is_list(array.type) and _has_numbers(array.type.value_type):
        return _distributions(column, array)
    if column.texts:
        return _classes(column, array)
    if not _has_numbers(array.type):
        raise BadType(f"{array.type} cannot be used as {column.role}; give numbers")
    numbers = _numbers(array, column.role)
    _check(column, numbers)
    return as_float32(numbers)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of all parts. If some hold classes and others distributions, a class becomes the
    distribution that gives it probability 1."""
    widths = {part.shape[1] for part in parts if part.ndim == 2}
    if widths:
        (num_classes,) = widths
        parts = [part if part.ndim == 2 else _certain(part, num_classes) for part in parts]
    return np.concatenate(parts)


def _certain(classes: np.ndarray, num_classes: int) -> np.ndarray:
    distributions = (classes[:, None] == np.arange(num_classes)).astype(np.float32)
    distributions[np.isnan(classes)] = np.nan
    return distributions


def _has_numbers(kind: pa.DataType) -> bool:
    return is_number(kind) or is_text(kind) or pa.types.is_null(kind)


def _numbers(array: pa.Array, role: str) -> np.ndarray:
    """float64 with NaN for nulls and empty texts."""
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    array = decoded(array)
    present = array.is_valid()
    if is_text(array.type):
        array = as_text(array)
        present = pc.and_(present, pc.not_equal(array, "").fill_null(False))
    kept = present.to_numpy(zero_copy_only=False)
    numbers = np.full(len(array), np.nan)
    try:
        numbers[kept] = as_numbers(array.filter(present))
    except BadValue as bad:
        row = int(np.flatnonzero(kept)[bad.row])
        text = str(array[row]).strip()
        remedy = "give a number" if role == "weight" else "give a number, or leave the label empty"
        if text.lower() in ANSWERS:
            remedy = "write 1 and 0 into the data instead; no setting converts labels"
        elif text.lower() in ABSENT and role != "weight":
            remedy = (
                "if it stands for a missing label, leave the cell empty, or for CSV files add "
                f'null_values: "{text}" to data_config'
            )
        elif role == "label" and is_text(array.type):
            remedy += "; texts are classes if label_classes of the tower lists them"
        raise BadValue(row, f"{bad.text}; {remedy}") from bad
    return numbers


def class_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts of classes in the form in which they are compared with labels. Whole numbers and
    booleans have one form in all types of columns, so that 3.0 is 3 and True is 1."""
    return tuple(canonical(pa.array(texts, pa.large_string())).to_pylist())


def _classes(column: Column, array: pa.Array) -> np.ndarray:
    """float32 (B,): the class of each row, its text's place in ``column.texts``; NaN if missing."""
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan, np.float32)
    if not (is_text(array.type) or is_number(array.type)):
        raise BadType(f"{array.type} cannot be used as a class; give text or whole numbers")
    missing = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    texts = canonical(as_text(array).fill_null(""))
    missing |= pc.equal(texts, "").to_numpy(zero_copy_only=False)
    of_classes = pa.array(column.texts, pa.large_string())
    places = pc.fill_null(pc.index_in(texts, value_set=of_classes), -1)
    classes = places.to_numpy(zero_copy_only=False).astype(np.float32)
    bad = ~missing & (classes < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        text = texts[row].as_py()
        hint = did_you_mean(text, column.texts)
        remedy = hint or "; add it there, or leave the label empty"
        raise BadValue(row, f"{text!r} is not in label_classes{remedy}")
    return np.where(missing, np.float32(np.nan), classes)


def _check(column: Column, numbers: np.ndarray) -> None:
    missing = np.isnan(numbers)
    if column.role == "weight" and missing.any():
        raise BadValue(int(np.flatnonzero(missing)[0]), "the weight is missing; give a number")
    if column.num_classes:
        bad = ~missing & (np.floor(numbers) != numbers)
        _refuse(bad, numbers, "is not a whole number; number the classes from 0")
    infinite = ~missing & ~np.isfinite(as_float32(numbers))
    outside = ~missing & ~((numbers >= column.low) & (numbers <= column.high))
    if column.role == "weight":
        _refuse(infinite | outside, numbers, "is not a weight; give a finite number, 0 or more")
    _refuse(
        outside,
        numbers,
        f"is outside [{exactly(column.low)}, {exactly(column.high)}], the labels of its loss; "
        "renumber the labels, or choose another loss",
    )
    _refuse(infinite, numbers, "is not a finite 32-bit number; give one, or leave the label empty")


def _refuse(bad: np.ndarray, numbers: np.ndarray, text: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise BadValue(row, f"{exactly(numbers[row])} {text}")


def _distributions(column: Column, array: pa.Array) -> np.ndarray:
    """(B, C) probabilities, NaN in rows that are null."""
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((lengths != column.num_classes) & (lengths != 0))
    if len(wrong):
        row = int(wrong[0])
        words = f"{lengths[row]} probabilities for {column.num_classes} classes; give one for each"
        raise BadValue(row, words)
    filled = np.flatnonzero(lengths)
    labels = np.full((len(array), column.num_classes), np.nan)
    try:
        flat = _numbers(array.take(pa.array(filled)).flatten(), column.role)
    except BadValue as bad:
        raise BadValue(int(filled[bad.row // column.num_classes]), bad.text) from bad
    labels[filled] = flat.reshape(-1, column.num_classes)
    missing = np.isnan(labels)
    bad = np.flatnonzero(~((labels >= 0) & (labels <= 1) | missing).all(axis=1))
    if len(bad):
        raise BadValue(int(bad[0]), "holds a probability outside [0, 1]; correct it")
    bad = np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1))
    if len(bad):
        raise BadValue(int(bad[0]), "lacks a probability; give all of them or none")
    sums = labels.sum(axis=1)
    bad = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if len(bad):
        row = int(bad[0])
        raise BadValue(row, f"adds up to {exactly(sums[row])}; probabilities must add up to 1")
    return labels.astype(np.float32)


def group_of(text: str) -> int:
    """The group of rows with this text."""
    return int(groups_of(pa.array([text], pa.string()))[0])


def groups_of(array: pa.Array) -> np.ndarray:
    """Whole numbers as they are, also where they are texts; other values by the hash of their
    text; NO_GROUP where missing."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), NO_GROUP)
    if not (is_number(kind) or is_text(kind)):
        raise BadType(f"{kind} cannot identify groups; give whole numbers or text")
    missing = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        filled = array.fill_null(pa.scalar(0).cast(kind))
        return np.where(missing, NO_GROUP, as_integers(filled).view(np.int64))
    texts = canonical(as_text(array).fill_null(""))
    groups = hash_texts(texts, "MURMUR_HASH").view(np.int64)
    whole = pc.match_substring_regex(texts, WHOLE)
    numbers = as_integers(texts.filter(whole))
    if numbers.dtype == object:
        numbers = (numbers % 2**64).astype(np.uint64)
    groups = groups.copy()
    groups[whole.to_numpy(zero_copy_only=False)] = numbers.view(np.int64)
    missing |= pc.equal(texts, "").to_numpy(zero_copy_only=False)
    return np.where(missing, NO_GROUP, groups)
