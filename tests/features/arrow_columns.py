"""Columns of every Arrow type that can mean an id, a number or a text, for hypothesis."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

SEPARATOR = "\x1d"

NUMBERS: dict[str, tuple[pa.DataType, st.SearchStrategy]] = {
    "bool": (pa.bool_(), st.booleans()),
    "int8": (pa.int8(), st.integers(-5, 30)),
    "int16": (pa.int16(), st.integers(-5, 300)),
    "int32": (pa.int32(), st.integers(-5, 30)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 30)),
    "uint8": (pa.uint8(), st.integers(0, 30)),
    "uint16": (pa.uint16(), st.integers(0, 300)),
    "uint32": (pa.uint32(), st.integers(0, 2**32 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1) | st.integers(0, 30)),
    "decimal128": (pa.decimal128(38, 0), st.integers(-(2**63), 2**63 - 1).map(Decimal)),
    "decimal, two places": (pa.decimal128(12, 2), st.integers(-5, 30).map(Decimal)),
    "decimal256": (pa.decimal256(50, 9), st.integers(-5, 30).map(Decimal)),
    "float16": (pa.float16(), st.integers(-5, 30).map(np.float16) | st.just(np.float16("nan"))),
    "float32": (pa.float32(), st.integers(-5, 30).map(float) | st.just(float("nan"))),
    "float64": (pa.float64(), st.integers(-(2**53), 2**53).map(float) | st.just(float("nan"))),
}
FRACTIONS: dict[str, tuple[pa.DataType, st.SearchStrategy]] = {
    "float16 fractions": (
        pa.float16(),
        st.integers(-200, 200).map(lambda n: np.float16(n / 10)) | st.just(np.float16("nan")),
    ),
    "float32 fractions": (
        pa.float32(),
        st.integers(-9000, 9000).map(lambda n: n / 1000) | st.just(float("nan")),
    ),
    "float64 fractions": (
        pa.float64(),
        st.floats(0.001, 1e6) | st.floats(-1e6, -0.001) | st.just(float("nan")),
    ),
    "decimal fractions": (
        pa.decimal128(12, 4),
        st.integers(-9_000_000, 9_000_000).map(lambda n: Decimal(n) / 10000),
    ),
}
LETTERS = st.text("ab7é東" + SEPARATOR, max_size=6)
ANY = st.text(st.characters(codec="utf-8"), max_size=30)
TEXTS: dict[str, tuple[pa.DataType, st.SearchStrategy]] = {
    "string": (pa.string(), LETTERS | ANY),
    "large_string": (pa.large_string(), LETTERS | ANY),
    "string_view": (pa.string_view(), LETTERS | ANY),
    "binary": (pa.binary(), (LETTERS | ANY).map(str.encode)),
    "large_binary": (pa.large_binary(), (LETTERS | ANY).map(str.encode)),
    "binary_view": (pa.binary_view(), (LETTERS | ANY).map(str.encode)),
}


def type_name(parameter: object) -> str | None:
    """Names a parameter of a test: a column by its type, another as pytest does."""
    return str(parameter.type) if isinstance(parameter, pa.Array) else None


Container = Callable[[st.DrawFn, pa.DataType, st.SearchStrategy], pa.Array]


def _plain(draw: st.DrawFn, kind: pa.DataType, values: st.SearchStrategy) -> pa.Array:
    return pa.array(draw(st.lists(values | st.none(), max_size=12)), kind)


def _coded(draw: st.DrawFn, kind: pa.DataType, values: st.SearchStrategy) -> pa.Array:
    """A dictionary with null codes, a null among its words, words twice and words never used."""
    words = draw(st.lists(values | st.none(), min_size=1, max_size=6))
    codes = draw(st.lists(st.integers(0, len(words) - 1) | st.none(), max_size=12))
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), pa.array(words, kind))


def _lists(outer: Callable[[pa.DataType], pa.DataType]) -> Container:
    def build(draw: st.DrawFn, kind: pa.DataType, values: st.SearchStrategy) -> pa.Array:
        cells = st.lists(values | st.none(), max_size=4) | st.none()
        return pa.array(draw(st.lists(cells, max_size=8)), outer(kind))

    return build


def _pairs(draw: st.DrawFn, kind: pa.DataType, values: st.SearchStrategy) -> pa.Array:
    cells = st.lists(values | st.none(), min_size=2, max_size=2) | st.none()
    return pa.array(draw(st.lists(cells, max_size=8)), pa.list_(kind, 2))


def _lists_of_coded(draw: st.DrawFn, kind: pa.DataType, values: st.SearchStrategy) -> pa.Array:
    lists = _lists(pa.list_)(draw, kind, values)
    filled = lists.fill_null(pa.scalar([], lists.type))
    return pa.ListArray.from_arrays(filled.offsets, filled.values.dictionary_encode())


CONTAINERS: dict[str, Container] = {
    "plain": _plain,
    "dictionary": _coded,
    "list": _lists(pa.list_),
    "large_list": _lists(pa.large_list),
    "list_view": _lists(pa.list_view),
    "fixed_size_list": _pairs,
    "list of dictionary": _lists_of_coded,
}


@st.composite
def columns(
    draw: st.DrawFn, kind: pa.DataType, values: st.SearchStrategy, container: str
) -> pa.Array:
    """A column whose Arrow buffers begin somewhere before its first row."""
    column = CONTAINERS[container](draw, kind, values)
    begin = draw(st.integers(0, min(2, len(column))))
    return column.slice(begin, draw(st.integers(0, len(column))))


def of(kinds: dict[str, Any], containers: list[str] | None = None) -> st.SearchStrategy:
    """Columns of any of the kinds in any container."""
    return st.one_of(
        columns(kind, values, container)
        for kind, values in kinds.values()
        for container in containers or CONTAINERS
        if not (container == "list of dictionary" and pa.types.is_float16(kind))
    )
