"""A frame: rows in memory that have a name, which stands where the path of a file does."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.data.frames.arrow import table_of
from tzmmoe.data.reading.split import hashes_of, is_hashable
from tzmmoe.data.recorded import FileRecord
from tzmmoe.errors import DataError
from tzmmoe.features.column import decoded
from tzmmoe.system.localpath import MEMORY

SAMPLE_ROWS = 1 << 16  # of a frame that its digest covers, in stretches of
STRETCH_ROWS = 1 << 10


@dataclass(frozen=True)
class Frame:
    """``given``: the rows as the caller has them; ``table``: the same in Arrow."""

    path: str  # memory:train
    table: pa.Table
    given: Any

    @classmethod
    def of(cls, given: Any, name: str, *, may_be_empty: bool = False) -> "Frame":
        """Raises DataError as ``table_of`` does, and for a frame without rows."""
        path = f"{MEMORY}{name}"
        table = table_of(given, path)
        if not (table.num_rows or may_be_empty):
            raise DataError(f"{path}: has no rows; check how the frame was made")
        return cls(path, table, given)

    @cached_property
    def digest(self) -> str:
        """Of the content: the names of the columns, the number of rows, and the values of up to
        SAMPLE_ROWS rows in stretches from the first row to the last.

        Neither the order of the columns nor the container, an index, or how Arrow stores the values
        plays a role. null, NaN, "" and [] are the same. Of types without a hash, such as structs,
        only the name counts.
        """
        total = hashlib.sha256(str(self.table.num_rows).encode())
        for name in sorted(self.table.schema.names):
            total.update(b"\0" + name.encode())
            column = self.table.column(name)
            if not is_hashable(_stored(cells(column, 0, 0)).type):
                continue
            for begin, count in _stretches(len(column)):
                hashes, present = hashes_of(_stored(cells(column, begin, count)))
                total.update(np.where(present, hashes, 0).tobytes())
                total.update(present.tobytes())
        return total.hexdigest()[:32]

    def record(self) -> FileRecord:
        return FileRecord(0, 0, self.digest, num_rows=self.table.num_rows)


def cells(column: pa.ChunkedArray, begin: int, count: int) -> pa.Array:
    """``count`` cells from one on, as one array."""
    part = column.slice(begin, count)
    if part.num_chunks == 1:
        return part.chunk(0)
    if not part.num_chunks:
        return pa.nulls(0, column.type)
    return pa.concat_arrays(part.unify_dictionaries().chunks)


def _stored(array: pa.Array) -> pa.Array:
    return decoded(array) if isinstance(array, pa.ExtensionArray) else array


def _stretches(num_rows: int) -> Iterator[tuple[int, int]]:
    """Begin and length of the rows that a digest covers: all, or equally distant ones."""
    if num_rows <= SAMPLE_ROWS:
        yield 0, num_rows
        return
    last = SAMPLE_ROWS // STRETCH_ROWS - 1
    for number in range(last + 1):
        yield (num_rows - STRETCH_ROWS) * number // last, STRETCH_ROWS
