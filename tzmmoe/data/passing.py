"""Columns that pass through to predictions come out in one type, whatever each file stores.

The types of all files decide it before any row is read. So it depends neither on which rows meet in
a chunk nor on the order of files.
"""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.data.reading.base import Source
from tzmmoe.errors import DataError
from tzmmoe.features.column import decoded, is_list
from tzmmoe.features.forms import EXACT_DIGITS, BadValue, as_numbers, is_number


def passing(source: Source, columns: Sequence[str]) -> pa.Schema:
    """The types in which columns pass through: of each, one that holds the values of all files.

    Raises:
        DataError: there is none for a column, and two files are named with their types; or a file
            lacks a column.
    """
    if not columns:
        return pa.schema([])
    stored: dict[str, dict[pa.DataType, str]] = {name: {} for name in columns}  # and its first file
    for file in with_rows(source):
        source.check_columns(file, columns)
        for name, kind in zip(columns, source.types(file, columns), strict=True):
            stored[name].setdefault(kind, file)
    return pa.schema([(name, _of_all(name, files)) for name, files in stored.items()])


def with_rows(source: Source) -> Sequence[str]:
    """The files without those that are known to have no rows; all if none is left."""
    return [file for file in source.files if not source.is_empty(file)] or source.files


def cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same values in a type of ``passing``. Raises BadValue for one that would change."""
    if pa.types.is_dictionary(array.type):
        array = decoded(array)
    if array.type == kind:
        return array
    try:
        return _cast(array, kind)
    except pa.ArrowInvalid:
        for row in range(len(array)):  # slow, but it shows which value is at fault
            try:
                _cast(array.slice(row, 1), kind)
            except pa.ArrowInvalid as error:
                words = f"{array[row]} does not fit into {kind}, the type that holds the values of"
                raise BadValue(row, f"{words} the other files; store it as one type") from error
        raise


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Raises ArrowInvalid for a value that would change."""
    if is_list(kind) and is_list(array.type) and array.type.value_type != kind.value_type:
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        ends = pa.array(np.cumsum([0, *lengths]), pa.int64())
        values = _cast(array.flatten(), kind.value_type)
        array = pa.LargeListArray.from_arrays(ends, values, mask=array.is_null())
    if pa.types.is_decimal(array.type) and pa.types.is_floating(kind):
        return _as_floats(array)
    return array.cast(kind)


def _as_floats(decimals: pa.Array) -> pa.Array:
    """The nearest numbers, which must show all digits of the decimals."""
    present = decimals.drop_null()
    numbers = as_numbers(present)
    most = 10.0 ** (EXACT_DIGITS - max(decimals.type.scale, 0))
    for place in np.flatnonzero(np.abs(numbers) >= most):
        if Decimal(repr(float(numbers[place]))) != present[int(place)].as_py():
            raise pa.ArrowInvalid("too many digits")
    filled = np.zeros(len(decimals))
    is_present = decimals.is_valid().to_numpy(zero_copy_only=False)
    filled[is_present] = numbers
    return pa.array(filled, mask=~is_present)


def _of_all(name: str, files: dict[pa.DataType, str]) -> pa.DataType:
    """``files``: the first one of each type."""
    kinds = sorted(files, key=str)
    whole = kinds[0]
    for number, kind in enumerate(kinds[1:], 1):
        both = _common(whole, kind)
        if both is None:
            other = next((k for k in kinds[:number] if _common(k, kind) is None), kinds[number - 1])
            raise DataError(
                f"{files[other]} stores column {name!r} as {other}, but {files[kind]} as {kind}, "
                "and no type holds the values of both; store it as one type, or leave it out of "
                "the reserved columns"
            )
        whole = both
    return whole


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type that holds the values of both; None if they mean different things."""
    if one == other:
        return one
    if is_list(one) and is_list(other):
        value = _common(one.value_type, other.value_type)
        if value is None:
            return None
        if pa.types.is_fixed_size_list(one) and pa.types.is_fixed_size_list(other):
            return pa.list_(value, one.list_size if one.list_size == other.list_size else -1)
        is_large = pa.types.is_large_list(one) or pa.types.is_large_list(other)
        return pa.large_list(value) if is_large else pa.list_(value)
    kinds = [one, other]
    if all(map(_is_number, kinds)):
        if any(map(pa.types.is_floating, kinds)) and not all(map(pa.types.is_floating, kinds)):
            return pa.float64()
        if any(map(pa.types.is_decimal, kinds)):
            kinds = list(map(_as_decimal, kinds))
    schemas = [pa.schema([("column", kind)]) for kind in kinds]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


def _is_number(kind: pa.DataType) -> bool:
    return is_number(kind) and not pa.types.is_boolean(kind)


def _as_decimal(kind: pa.DataType) -> pa.DataType:
    """Decimals that Arrow can combine, which it cannot if they are narrow, and which hold every
    whole number of a type, for which its own are a digit short."""
    if pa.types.is_integer(kind):
        bits = kind.bit_width - pa.types.is_signed_integer(kind)
        return pa.decimal128(len(str(2**bits)), 0)
    is_narrow = pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind)
    return pa.decimal128(kind.precision, kind.scale) if is_narrow else kind
