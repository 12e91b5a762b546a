"""The three forms in which a value is used: text, whole number, number."""

import re
from decimal import Decimal, InvalidOperation

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EXACT_DIGITS = 15  # decimal digits that a float64 tells apart

# What to do with a word among values of another kind.
OR_MISSING = "list it in na_values if it means that there is none"
NOT_A_NUMBER = f"set number_format to the form of the numbers, or {OR_MISSING}"


class BadValue(Exception):
    """A value that its feature or label cannot use.

    ``row`` is its row in the batch or, where rows are not known yet, its place among the values.
    """

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row
        self.text = text


class BadType(Exception):
    """A column whose Arrow type its feature or label cannot use."""


TEXT_TYPES = {
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view()),
}


def is_text(kind: pa.DataType) -> bool:
    return kind in TEXT_TYPES


def is_number(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def as_text(flat: pa.Array) -> pa.Array:
    """The text of each value, as hashes and vocabularies see it; nulls stay nulls.

    Whole numbers of up to 64 bits are written as integers, whether they are stored as integers,
    floats or decimals; other numbers as the shortest decimal that reads back the same; true and
    false as 1 and 0. So a flag or a nullable integer gets the same id whatever type a tool stored
    it in.

    Raises:
        BadValue: bytes that are not UTF-8.
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


# How Python, R and others write true and false, which typed columns hold as 1 and 0.
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_BOOLEANS = pa.array([*TRUE, *FALSE], pa.large_string())


def canonical(texts: pa.Array) -> pa.Array:
    """Texts in the form that ``as_text`` gives the same values in a typed column: 102.0, which
    tools write where a column of whole numbers lacks some, becomes 102, True 1 and False 0.

    Other texts stay as they are, such as 007, 1e5 and 1.10. ``texts``: large_string, without nulls.
    """
    if _may_hold(texts, b"."):
        points = pc.match_substring(texts, ".0")
        short = pc.replace_substring_regex(texts, r"^(-?[0-9]+)\.0+$", r"\1")
        texts = pc.if_else(points, pc.replace_substring_regex(short, r"^-(0+)$", r"\1"), texts)
    digits = _without_booleans(texts)
    return texts if digits is None else digits


def _may_hold(texts: pa.Array, *characters: bytes) -> bool:
    """Whether the texts may hold one of some characters; far quicker than asking text by text."""
    if texts.type not in (pa.string(), pa.large_string()):
        return True
    _, offsets, content = texts.buffers()
    if content is None or not len(texts):
        return False
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    ends = np.frombuffer(offsets, kind)[[texts.offset, texts.offset + len(texts)]]
    chars = content[int(ends[0]) : int(ends[1])].to_pybytes()
    return any(each in chars for each in characters)


def _without_booleans(flat: pa.Array) -> pa.Array | None:
    """Texts with true and false as 1 and 0; None if there are none."""
    if not _may_hold(flat, b"e", b"E"):
        return None
    texts = flat.cast(pa.large_string())
    words = pc.is_in(texts, value_set=_BOOLEANS)
    if not pc.any(words).as_py():
        return None
    is_true = pc.is_in(texts, value_set=_BOOLEANS.slice(0, len(TRUE)))
    return pc.if_else(words, is_true.cast(pa.int8()).cast(pa.large_string()), texts)


def _as_utf8(flat: pa.Array) -> pa.Array:
    try:
        return flat.cast(pa.large_string())
    except pa.ArrowInvalid:
        for place, value in enumerate(flat.cast(pa.large_binary()).to_pylist()):
            if value is not None and value.decode(errors="replace").encode() != value:
                raise BadValue(
                    place, f"{value[:40]!r} is not UTF-8 text; store it as UTF-8"
                ) from None
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
    """Values without nulls as int64; as uint64 if any exceeds int64, and as Python's integers if
    others are negative then.

    Raises:
        BadValue: a value that is not a whole number, or exceeds 64 bits.
    """
    if pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.int8())
    if pa.types.is_integer(flat.type):
        wide = np.uint64 if pa.types.is_uint64(flat.type) else np.int64
        return flat.to_numpy(zero_copy_only=False).astype(wide, copy=False)
    if is_text(flat.type):
        return _texts_as_integers(flat)
    integers = _cast_to_integers(flat)
    return _whole(flat) if integers is None else integers


def _texts_as_integers(texts: pa.Array) -> np.ndarray:
    if _may_hold(texts, b"x", b"X"):
        return _whole(texts)  # Arrow would take 0x1F for 31
    integers = _cast_to_integers(texts)
    if integers is not None:
        return integers
    # 1.0: how CSV files often show a nullable integer
    integers = _cast_to_integers(canonical(texts.cast(pa.large_string())))
    if integers is not None:
        return integers
    numbers = _short_numbers(texts)
    if numbers is not None and (np.floor(numbers) == numbers).all():
        return numbers.astype(np.int64)
    return _whole(texts)


def _cast_to_integers(flat: pa.Array) -> np.ndarray | None:
    """int64 or uint64, or None where Arrow does not see whole numbers."""
    for wide in (pa.int64(), pa.uint64()):
        try:
            flat.slice(0, 99).cast(wide)  # Arrow takes long to fail: it retries every value
            return flat.cast(wide).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            continue
    return None


def _short_numbers(texts: pa.Array) -> np.ndarray | None:
    """The numbers, if each is small and its text so short that float64 holds it exactly."""
    if pc.max(pc.binary_length(texts)).as_py() > EXACT_DIGITS:
        return None
    try:
        numbers = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    if (numbers == 0).any() and pc.any(pc.match_substring(texts, "e-", ignore_case=True)).as_py():
        return None  # perhaps 1e-400, which is not 0
    return numbers if (np.abs(numbers) < 2.0**53).all() else None


def as_numbers(flat: pa.Array) -> np.ndarray:
    """Values without nulls as float64.

    Raises:
        BadValue: a value that is not a number.
    """
    if pa.types.is_decimal(flat.type):
        flat = flat.cast(pa.string())  # Arrow's own cast of decimals to floats is off by an ulp
    if not is_text(flat.type):
        flat = flat.cast(pa.int8()) if pa.types.is_boolean(flat.type) else flat
        return flat.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    try:
        numbers = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if not np.isnan(numbers).any() or not pc.any(pc.match_substring(flat, "(")).as_py():
            return numbers  # Arrow alone would take nan(x) for NaN
    except pa.ArrowInvalid:
        digits = _without_booleans(flat)
        if digits is not None:
            return as_numbers(digits)
    texts = flat.to_pylist()  # one by one: slow, but it shows which value is not a number
    numbers = [parse_number(text) for text in texts]
    if None in numbers:
        place = numbers.index(None)
        raise BadValue(place, f"{texts[place]!r} is not a number") from None
    return np.array(numbers)


def as_float32(numbers: np.ndarray) -> np.ndarray:
    """In the model's precision; numbers that are too large become infinite."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _whole(flat: pa.Array) -> np.ndarray:
    """``as_integers`` one by one: slow, but exact, and it shows which value is at fault."""
    if pa.types.is_decimal(flat.type):
        flat = flat.cast(pa.string())
    elif is_text(flat.type) and (digits := _without_booleans(flat)) is not None:
        flat = digits
    integers = []
    for place, value in enumerate(flat.to_pylist()):
        integer = parse_whole(value)
        if integer is None or not -(2**63) <= integer < 2**64:
            is_whole = integer is not None or re.fullmatch(r"\s*[+-]?\d+\s*", str(value))
            fault = "does not fit into 64 bits" if is_whole else "is not a whole number"
            raise BadValue(place, f"{value!r} {fault}")
        integers.append(integer)
    large = max(integers, default=0) >= 2**63
    if large and min(integers) < 0:
        return np.array(integers, object)
    return np.array(integers, np.uint64 if large else np.int64)


def parse_number(text: str) -> float | None:
    """A number such as 1.5 or -2e3, with or without surrounding spaces; None for other text."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def parse_whole(value: str | float) -> int | None:
    """A whole number, also when written as 3.0 or 1e3; None for anything else."""
    try:
        number = None if "_" in str(value) else Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if number is None or not number.is_finite() or number.adjusted() > 25 or number % 1:
        return None
    return int(number)
