"""The forms that a value takes: text, whole number, number."""

from decimal import Decimal, InvalidOperation

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
            pa.types.is_binary_view,
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
    """The text that stands for each value in hashes and vocabularies; nulls stay nulls.

    Whole numbers within 64 bits are written as integers, whether they are stored as integers,
    floats or decimals; other numbers as the shortest decimal that reads back the same; true and
    false as 1 and 0. So a flag or a nullable integer gets the same id whatever type a tool stored
    it in.

    Raises:
        BadValue: bytes that are no UTF-8.
    """
    kind = flat.type
    if is_text(kind):
        return _as_utf8(flat)
    if pa.types.is_boolean(kind):
        return flat.cast(pa.int8()).cast(pa.large_string())
    if pa.types.is_decimal(kind):
        return _decimals_as_text(flat)
    if pa.types.is_floating(kind):
        return _floats_as_text(flat)
    return flat.cast(pa.large_string())


def _as_utf8(flat: pa.Array) -> pa.Array:
    try:
        return flat.cast(pa.large_string())
    except pa.ArrowInvalid:
        for number, found in enumerate(flat.cast(pa.large_binary()).to_pylist()):
            if found is not None and found.decode(errors="replace").encode() != found:
                raise BadValue(number, f"{found[:40]!r} is no text in UTF-8") from None
        raise


def _decimals_as_text(flat: pa.Array) -> pa.Array:
    text = flat.cast(pa.string())
    powers = pc.match_substring(text, "E").fill_null(False)  # 0E-7, 1.2E+3
    if pc.any(powers).as_py():
        numbers = pc.if_else(powers, text, "0").cast(pa.float64())
        text = pc.if_else(powers, _floats_as_text(numbers).cast(pa.string()), text)
    text = pc.replace_substring_regex(text, r"^([^e]*\.[^e]*?)0+$", r"\1")
    return pc.replace_substring_regex(text, r"\.$", "").cast(pa.large_string())


def _floats_as_text(flat: pa.Array) -> pa.Array:
    numbers = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
    is_whole = np.floor(numbers) == numbers
    whole = is_whole & (numbers >= -(2.0**63)) & (numbers < 2.0**63)
    text = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.large_string())
    if whole.all():
        return text
    if pa.types.is_float16(flat.type):  # Arrow writes all digits of these
        short = flat.to_numpy(zero_copy_only=False).astype(str)
        flat = pc.if_else(flat.is_valid(), pa.array(short).cast(pa.float64()), None)
    text = pc.if_else(pa.array(whole), text, flat.cast(pa.large_string()))
    upper = is_whole & (numbers >= 2.0**63) & (numbers < 2.0**64)
    if upper.any():
        integers = pa.array(np.where(upper, numbers, 0).astype(np.uint64))
        text = pc.if_else(pa.array(upper), integers.cast(pa.large_string()), text)
    return text


def as_integers(flat: pa.Array) -> np.ndarray:
    """Values without nulls as int64, or as uint64 where int64 does not hold them.

    Raises:
        BadValue: one that is no whole number of 64 bits.
    """
    if pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.int8())
    if pa.types.is_integer(flat.type):
        wide = np.uint64 if pa.types.is_uint64(flat.type) else np.int64
        return flat.to_numpy(zero_copy_only=False).astype(wide, copy=False)
    for wide in (pa.int64(), pa.uint64()):
        try:
            flat.slice(0, 99).cast(wide)  # Arrow fails slowly, in each value anew
            return flat.cast(wide).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            continue
    if is_text(flat.type):  # 1.0, as a nullable integer often looks in CSV
        try:
            numbers = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            return _whole(flat)
        if ((np.floor(numbers) == numbers) & (np.abs(numbers) < 2.0**53)).all():
            return numbers.astype(np.int64)
    return _whole(flat)


def as_numbers(flat: pa.Array) -> np.ndarray:
    """Values without nulls as float64.

    Raises:
        BadValue: one that is no number.
    """
    if pa.types.is_decimal(flat.type):
        flat = flat.cast(pa.string())  # Arrow's way from decimal to float is an ulp off
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


def _whole(flat: pa.Array) -> np.ndarray:
    """As as_integers, one by one: the slow way, which is exact and finds the one that is none."""
    numbers = []
    if pa.types.is_decimal(flat.type):
        flat = flat.cast(pa.string())
    for number, found in enumerate(flat.to_pylist()):
        whole = parse_whole(found)
        if whole is None or not -(2**63) <= whole < 2**64:
            what = "is no whole number" if whole is None else "does not fit into 64 bits"
            raise BadValue(number, f"{found!r} {what}")
        numbers.append(whole)
    large = max(numbers, default=0) >= 2**63
    if large and min(numbers) < 0:
        number = next(place for place, whole in enumerate(numbers) if whole >= 2**63)
        raise BadValue(number, f"{numbers[number]} is too large beside negative numbers")
    return np.array(numbers, np.uint64 if large else np.int64)


def parse_number(text: str) -> float | None:
    """A number, as 1.5 or -2e3; spaces around it do not matter."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def parse_whole(found: str | float) -> int | None:
    """A whole number, also when it is written as 3.0 or 1e3."""
    try:
        number = None if "_" in str(found) else Decimal(str(found).strip())
    except InvalidOperation:
        return None
    if number is None or not number.is_finite() or number.adjusted() > 25 or number % 1:
        return None
    return int(number)
