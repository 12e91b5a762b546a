"""What the Arrow at hand can make, write to Parquet and read again; older ones lack some of it."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def is_storable(make: Callable[[], pa.Array]) -> bool:
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(pa.table({"column": make()}), sink, row_group_size=2)
        pq.read_table(pa.BufferReader(sink.getvalue()))
    except (pa.ArrowException, OSError):
        return False
    return True


def skip_unless_storable(make: Callable[[], pa.Array]) -> None:
    if not is_storable(make):
        pytest.skip(f"Arrow {pa.__version__} cannot store this")
