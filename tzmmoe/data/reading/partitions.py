"""Columns that are not in files but in the names of their folders, as Hive and Spark write them:
``dt=2024-01-01/country=CH/part-0.parquet``."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from tzmmoe.data.reading.base import NO_READERS, Source

MISSING = "__HIVE_DEFAULT_PARTITION__"


def with_partitions(source: Source) -> Source:
    """The source with the columns in the names of its files' folders; itself if there are none."""
    return PartitionedSource(source) if any(map(partitions, source.files)) else source


def partitions(file: str) -> dict[str, str | None]:
    """The values in the names of a file's folders, as text; None for a missing one."""
    found: dict[str, str | None] = {}
    for name in Path(file).parts[:-1]:
        key, mark, value = name.partition("=")
        if key and mark and value:
            found[unquote(key)] = None if value == MISSING else unquote(value)
    return found


class PartitionedSource(Source):
    """Files whose folders' names are columns of text, unless a file has such a column itself."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.files)
        self._source = source

    def columns(self, file: str) -> list[str]:
        return [*self._source.columns(file), *self._added(file)]

    def _added(self, file: str) -> Mapping[str, str | None]:
        own = set(self._source.columns(file))
        return {key: value for key, value in partitions(file).items() if key not in own}

    def types(self, file: str, columns: Sequence[str]) -> list[pa.DataType]:
        added = self._added(file)
        own = [name for name in columns if name not in added]
        kinds = dict(zip(own, self._source.types(file, own), strict=True))
        return [kinds.get(name, pa.string()) for name in columns]

    def check_columns(
        self, file: str, needed: Sequence[str], readers: Mapping[str, str] = NO_READERS
    ) -> None:
        added = self._added(file)
        own = [name for name in needed if name not in added]
        self._source.check_columns(file, own, readers)

    def num_rows(self, file: str) -> int:
        return self._source.num_rows(file)

    def known_rows(self, file: str) -> int | None:
        return self._source.known_rows(file)

    def blocks(self, file: str) -> list[int]:
        return self._source.blocks(file)

    def row_number(self, file: str, row: int) -> int:
        return self._source.row_number(file, row)

    def check_unchanged(self, file: str) -> None:
        self._source.check_unchanged(file)

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        added = self._added(file)
        own = [name for name in columns if name not in added]
        for batch in self._source.read(file, own, skip):
            if len(own) == len(columns):
                yield batch
                continue
            arrays = [
                _constant(added[name], batch.num_rows) if name in added else batch.column(name)
                for name in columns
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _constant(value: str | None, num_rows: int) -> pa.Array:
    """So many times one text, which is stored once."""
    places = pa.array(np.zeros(num_rows, np.int32), mask=np.full(num_rows, value is None))
    return pa.DictionaryArray.from_arrays(places, pa.array([value or ""], pa.string()))
