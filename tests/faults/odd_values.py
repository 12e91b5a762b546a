"""Columns of every type that a file can have, and values that are likely to cause trouble."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa

INTEGERS = [0, 1, -1, 2, 7, 19, 20, 127, 128, 255, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1]
INTEGERS += [-(2**63), 2**63, 2**64 - 1]
FLOATS = [0.0, -0.0, 0.5, 1.0, 3.0, -1.5, 1e-45, 5e-324, 1e38, 3.5e38, 1e308, 2.0**63, 2.0**64]
FLOATS += [float("nan"), float("inf"), -float("inf"), 9007199254740993.0, 65504.0]
# fmt: off
TEXTS = [
    "", " ", "0", "1", " 1 ", "-1", "+1", "007", "1.0", "1.5", "1,5", "1e3", "1E400", "-0", "--1",
    "nan", "NaN", "null", "None", "NA", "inf", "-Infinity", "true", "False", "0x10", "1_000",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "9" * 400,
    "0." + "1" * 99, "|", "||", "1|", "|1|2", "1|x|2", "1|2|3", "1|2|3|4", "a:1", "a:", ":1", ":",
    "a:b:2", "a:nan", "a:inf|b:1", "a:1|b", "a:-1", "a:1e39", "t1", "t1|t2", "unknown", "T1", "t1 ",
    "\t", "\n", "\r\n", "a\nb", 'a"b', '"', "'", "a,b", "\\", "\\n", "\x00", "1\x00", "\x1d",
    "\x03", "\x7f", "\ufeff1", "ü", "u\u0308", "日本語", "١٢", "１", "\u202e", "🙂", "\U0010ffff",
    "x" * 70_000, "|".join("123" * 500), "2024-01-01", "12:30", "[1, 2]", '{"a": 1}', "=1+1",
    "%s%n", "../../x", "{0}", "$HOME", "1;2",
]
# fmt: on
BYTES = [b"", b"1", b"abc", b"\xff\xfe", b"\x80", b"t1|\xc3", b"\xed\xa0\x80", b"\x00" * 9]
DAYS = [dt.date(1970, 1, 1), dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29)]
MOMENTS = [dt.datetime(1970, 1, 1), dt.datetime(1900, 1, 1), dt.datetime(2261, 1, 1, 23, 59, 59, 1)]
DECIMALS = [Decimal(text) for text in ("0", "1", "-1", "2.5", "19", "1e20", "-0.0000000001", "7")]

SCALARS: dict[pa.DataType, list] = {
    **{
        kind: [v for v in INTEGERS if low <= v < high]
        for bits in (8, 16, 32, 64)
        for kind, low, high in (
            (getattr(pa, f"int{bits}")(), -(2 ** (bits - 1)), 2 ** (bits - 1)),
            (getattr(pa, f"uint{bits}")(), 0, 2**bits),
        )
    },
    pa.float16(): [np.float16(each) for each in FLOATS if abs(each) < 65505 or each != each],
    pa.float32(): [each for each in FLOATS if not 3.5e38 <= abs(each) < 1e309],
    pa.float64(): FLOATS,
    pa.bool_(): [True, False],
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
    pa.string_view(): TEXTS,
    pa.binary(): BYTES,
    pa.large_binary(): BYTES,
    pa.binary(3): [b"abc", b"\xff\xff\xff", b"001"],
    pa.decimal128(38, 10): DECIMALS,
    pa.decimal256(60, 10): DECIMALS,
    pa.date32(): DAYS,
    pa.date64(): DAYS,
    pa.time32("ms"): [dt.time(0), dt.time(23, 59, 59)],
    pa.time64("ns"): [dt.time(0), dt.time(23, 59, 59)],
    pa.timestamp("s"): MOMENTS[:1],
    pa.timestamp("us"): MOMENTS,
    pa.timestamp("ns", "UTC"): MOMENTS,
    pa.duration("us"): [dt.timedelta(0), dt.timedelta(-1), dt.timedelta(days=40_000)],
    pa.null(): [None],
}
SCALAR_COLUMNS = {str(kind): kind for kind in SCALARS}
OFTEN_IN_LISTS = [pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.decimal128(38, 10)]
OFTEN_IN_LISTS += [pa.null(), pa.timestamp("us"), pa.binary()]

Draw = Callable[[np.random.Generator, int], pa.Array]


def some(random: np.random.Generator, kind: pa.DataType, count: int) -> list:
    """Values of a scalar type, a fifth of them null."""
    known = SCALARS[kind]
    chosen = [known[place] for place in random.integers(len(known), size=count)]
    return [None if random.random() < 0.2 else each for each in chosen]


def lists(random: np.random.Generator, kind: pa.DataType, count: int, most: int = 4) -> list:
    made = [some(random, kind, int(random.integers(most + 1))) for _ in range(count)]
    return [None if random.random() < 0.2 else each for each in made]


def scalar(kind: pa.DataType) -> Draw:
    return lambda random, count: pa.array(some(random, kind, count), kind)


def dictionary(kind: pa.DataType) -> Draw:
    return lambda random, count: pa.array(some(random, kind, count), kind).dictionary_encode()


def listed(kind: pa.DataType, make: Callable = pa.list_) -> Draw:
    return lambda random, count: pa.array(lists(random, kind, count), make(kind))


def fixed(kind: pa.DataType) -> Draw:
    def draw(random: np.random.Generator, count: int) -> pa.Array:
        rows = [some(random, kind, 3) for _ in range(count)]
        return pa.array(rows, pa.list_(kind, 3))

    return draw


def nested(kind: pa.DataType) -> Draw:
    def draw(random: np.random.Generator, count: int) -> pa.Array:
        return pa.array([lists(random, kind, 2) for _ in range(count)], pa.list_(pa.list_(kind)))

    return draw


def mapped(keys: pa.DataType, items: pa.DataType) -> Draw:
    def draw(random: np.random.Generator, count: int) -> pa.Array:
        rows = []
        for _ in range(count):
            known = [each for each in some(random, keys, 3) if each is not None]
            rows.append(list(zip(known, some(random, items, 3), strict=False)))
        rows[0] = None
        return pa.array(rows, pa.map_(keys, items))

    return draw


def structs(random: np.random.Generator, count: int) -> pa.Array:
    return pa.array([{"a": each} for each in some(random, pa.int64(), count)])


COLUMNS: dict[str, Draw] = {
    **{name: scalar(kind) for name, kind in SCALAR_COLUMNS.items()},
    **{f"dictionary {k}": dictionary(k) for k in (pa.string(), pa.int64(), pa.binary())},
    **{f"list {kind}": listed(kind) for kind in OFTEN_IN_LISTS},
    **{f"large list {k}": listed(k, pa.large_list) for k in (pa.int64(), pa.string())},
    **{f"fixed list {k}": fixed(k) for k in (pa.float32(), pa.int64(), pa.string())},
    **{f"list of list {kind}": nested(kind) for kind in (pa.int64(), pa.string())},
    "map to double": mapped(pa.string(), pa.float64()),
    "map of int": mapped(pa.int64(), pa.float32()),
    "map to text": mapped(pa.string(), pa.string()),
    "map to null": mapped(pa.string(), pa.null()),
    "struct": structs,
}
