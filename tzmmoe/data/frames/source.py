"""A frame as the one file of a source."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from tzmmoe.data.frames.arrow import without_views
from tzmmoe.data.frames.frame import Frame, cells
from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.parquet import check_cells
from tzmmoe.data.reading.parts import batch_of
from tzmmoe.features.column import decoded

ROWS = 1 << 13  # of a block. Shuffling holds a copy of some blocks, so they are small


class FrameSource(Source):
    """The rows of a frame, in blocks of ROWS. Text is dictionary-encoded block by block, as that of
    Parquet files is, and so are categories that outnumber the rows of a block."""

    def __init__(self, frame: Frame) -> None:
        super().__init__([frame.path])
        self._table = frame.table

    def columns(self, file: str) -> list[str]:
        return list(self._table.schema.names)

    def types(self, file: str, columns: Sequence[str]) -> list[pa.DataType]:
        return [_read_as(self._table.schema.field(name).type) for name in columns]

    def num_rows(self, file: str) -> int:
        return self._table.num_rows

    def blocks(self, file: str) -> list[int]:
        rows = self._table.num_rows
        return [min(ROWS, rows - begin) for begin in range(0, rows, ROWS)]

    def check_unchanged(self, file: str) -> None:
        """Its table stays as it is, whatever becomes of the caller's frame."""

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        self.check_columns(file, columns)
        rows = self._table.num_rows
        while skip < rows:
            count = min(ROWS - skip % ROWS, rows - skip)
            arrays = {name: _form(cells(self._table[name], skip, count)) for name in columns}
            batch = batch_of(arrays, count)
            check_cells(file, skip, batch)
            yield batch
            skip += count


def _form(array: pa.Array) -> pa.Array:
    """Cells in the types that ``types`` tells."""
    array = without_views(array)
    if pa.types.is_dictionary(array.type):
        words = array.dictionary
        if _is_unicode(words.type) and len(words) <= len(array):
            return pa.DictionaryArray.from_arrays(array.indices, words.cast(pa.string()))
        array = decoded(array)
    return array.cast(pa.string()).dictionary_encode() if _is_unicode(array.type) else array


def _read_as(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind
    if pa.types.is_dictionary(kind):
        return _read_as(kind.value_type)
    return pa.string() if _is_unicode(kind) else without_views(pa.nulls(0, kind)).type


def _is_unicode(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.large_string(), pa.string_view())
