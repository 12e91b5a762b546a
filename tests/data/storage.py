"""Every type that a Parquet file can store, with values, and layouts of such a file."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import numpy as np
import pyarrow as pa
from storable import is_storable

ROWS = 24
UTC = dt.UTC
WHOLE = [1, 0, None, 7, 100]
NOON = dt.datetime(2024, 2, 29, 12, 30)
LONG = Decimal("123456789012345678901234567890.25")

NUMBERS: dict[str, tuple[pa.DataType, list]] = {
    **{f"int{bits}": (getattr(pa, f"int{bits}")(), [*WHOLE, -1]) for bits in (8, 16, 32)},
    **{f"uint{bits}": (getattr(pa, f"uint{bits}")(), WHOLE) for bits in (8, 16, 32)},
    "int64": (pa.int64(), [*WHOLE, 2**53 + 1, -(2**62)]),
    "uint64": (pa.uint64(), [*WHOLE, 2**63 + 5]),
    "bool": (pa.bool_(), [True, None, False]),
    "bool8": (pa.bool8(), [True, None, False]),
    "float16": (pa.float16(), [0.5, 3.0, None, -0.125]),
    "float32": (pa.float32(), [0.5, 3.0, None, float(np.float32(0.1))]),
    "float64": (pa.float64(), [0.1, 3.0, None, float("nan"), 0.001]),
    "decimal32": (pa.decimal32(6, 2), [Decimal("12.50"), Decimal("3.00"), None]),
    "decimal64": (pa.decimal64(12, 3), [Decimal("12.500"), Decimal("-3.000"), None]),
    "decimal128": (pa.decimal128(38, 2), [Decimal("0.10"), Decimal("3.00"), None, LONG]),
    "decimal256": (pa.decimal256(60, 2), [Decimal("0.10"), Decimal("3.00"), None, LONG]),
}
TEXTS: dict[str, tuple[pa.DataType, list]] = {
    "string": (pa.string(), ["007", "1.50", None, "12"]),
    "large_string": (pa.large_string(), ["007", "1.50", None, "12", ""]),
    "string_view": (pa.string_view(), ["007", "", None, "0.1234567890123"]),
    "binary": (pa.binary(), [b"007", b"1.50", None]),
    "large_binary": (pa.large_binary(), [b"007", b"1.50", None]),
    "binary_view": (pa.binary_view(), [b"007", b"0.1234567890123", None]),
    "json": (pa.json_(), ["12", None, "1.50"]),
}
TIMES: dict[str, tuple[pa.DataType, list]] = {
    "date32": (pa.date32(), [NOON.date(), None, dt.date(1969, 1, 1)]),
    "date64": (pa.date64(), [NOON.date(), None]),
    **{f"timestamp_{unit}": (pa.timestamp(unit), [NOON, None]) for unit in ("s", "ms", "us", "ns")},
    **{
        f"zoned_{unit}": (pa.timestamp(unit, "UTC"), [NOON.replace(tzinfo=UTC), None])
        for unit in ("s", "ms", "us", "ns")
    },
    **{f"time32_{unit}": (pa.time32(unit), [NOON.time(), None]) for unit in ("s", "ms")},
    **{f"time64_{unit}": (pa.time64(unit), [NOON.time(), None]) for unit in ("us", "ns")},
}
SPANS: dict[str, tuple[pa.DataType, list]] = {
    f"duration_{unit}": (pa.duration(unit), [dt.timedelta(seconds=90), None])
    for unit in ("s", "ms", "us", "ns")
}
BYTES = {"fixed_size_binary": (pa.binary(3), [b"007", b"1.5", None])}
SINGLE = NUMBERS | TEXTS | TIMES | SPANS | BYTES | {"null": (pa.null(), [None])}
# Arrow makes no dictionaries of these.
NO_DICTIONARY = ("null", "string_view", "binary_view", "decimal32", "decimal64", "json", "bool8")
LISTS: dict[str, Callable[[pa.DataType], pa.DataType]] = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "list_view": pa.list_view,
    "large_list_view": pa.large_list_view,
    "pair": lambda kind: pa.list_(kind, 2),
}
FEW = ("int64", "float32", "bool", "decimal128", "string", "string_view", "binary")


def cases() -> dict[str, tuple[pa.DataType, list]]:
    """Columns by name: types and values."""
    made = dict(SINGLE)
    for name, (kind, values) in SINGLE.items():
        present = [value for value in values if value is not None] or [None]
        lists = [present, None, [], [None, *present]]
        if not isinstance(kind, pa.BaseExtensionType):
            made[f"list_of_{name}"] = (pa.list_(kind), lists)
        for word, make in list(LISTS.items())[1:] if name in FEW else ():
            pairs = [[present[0], present[-1]], None, [None, present[0]]]
            made[f"{word}_of_{name}"] = (make(kind), pairs if word == "pair" else lists)
        if name in FEW:
            entries = [[(present[0], 0.5), (present[-1], 2.0)], [], None]
            made[f"map_of_{name}"] = (pa.map_(kind, pa.float32()), entries)
        if name not in NO_DICTIONARY:
            coded = pa.dictionary(pa.int32(), kind)
            made[f"coded_{name}"] = (coded, values)
        if name in ("int64", "string", "large_string", "binary"):
            made[f"list_of_coded_{name}"] = (pa.list_(coded), lists)
    pair = pa.struct([("a", pa.int8()), ("b", pa.dictionary(pa.int8(), pa.string()))])
    made["struct"] = (pair, [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}])
    made["list_of_struct"] = (pa.list_(pair), [[{"a": 1, "b": "x"}], None, []])
    made["list_of_list"] = (pa.list_(pa.list_(pa.int8())), [[[1], None, []], None, []])
    return made


def stored(kind: pa.DataType, values: list) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        if kind == pa.bool8():
            values = [None if value is None else int(value) for value in values]
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    if pa.types.is_dictionary(kind):  # Arrow makes few kinds of dictionaries from Python's values
        return pa.array(values, kind.value_type).dictionary_encode()
    if pa.types.is_list(kind) and pa.types.is_dictionary(kind.value_type):
        plain = pa.array(values, pa.list_(kind.value_type.value_type))
        flat = plain.values.dictionary_encode()
        return pa.ListArray.from_arrays(plain.offsets, flat, mask=plain.is_null())
    return pa.array(values, kind)


def rows_of(values: list) -> list:
    return [values[row % len(values)] for row in range(ROWS)]


ALL = cases()
# Older versions of Arrow cannot make, write or read all of them.
CASES = {
    name: (kind, values)
    for name, (kind, values) in ALL.items()
    if is_storable(partial(stored, kind, rows_of(values)))
}
VALUES = {name: rows_of(values) for name, (_, values) in CASES.items()}
LAYOUTS: dict[str, dict] = {
    "one group": {},
    "groups of two rows": {"row_group_size": 2},
    "plain pages": {"row_group_size": 5, "use_dictionary": False},
    "pages of version 2": {"row_group_size": 7, "data_page_version": "2.0"},
    "small pages": {"data_page_size": 1, "write_batch_size": 1, "use_dictionary": False},
}
