"""Files whose rows carry their numbers, and loaders that hand them out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from pyarrow import csv

from tzmmoe.batch import Batch, Position
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan import delivery as delivery_module
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.plan.order import Order
from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.data.reading.parquet import ParquetSource

COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=4)  # rows of each file


def table(first: int, count: int) -> pa.Table:
    return pa.table({"row": pa.array(range(first, first + count), pa.int64())})


def write_parquet(folder: Path, counts: Sequence[int], *, group: int = 4) -> list[str]:
    """Files 0.parquet, 1.parquet, ... with so many rows, numbered on from file to file."""
    names, first = [], 0
    for number, count in enumerate(counts):
        names.append(str(folder / f"{number}.parquet"))
        pq.write_table(table(first, count), names[-1], row_group_size=group)
        first += count
    return names


def write_csv(folder: Path, counts: Sequence[int], *, suffix: str = ".csv") -> list[str]:
    names, first = [], 0
    for number, count in enumerate(counts):
        names.append(str(folder / f"{number}{suffix}"))
        with pa.output_stream(names[-1], compression="detect") as stream:
            csv.write_csv(table(first, count), stream)
        first += count
    return names


KINDS = {
    "parquet": lambda folder, counts: write_parquet(folder, counts, group=5),
    "csv": write_csv,
    "gzip csv": lambda folder, counts: write_csv(folder, counts, suffix=".csv.gz"),
}


@contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


def csv_source(files: Sequence[str], **changes: object) -> CsvSource:
    arguments = {"delimiter": ",", "with_header": True, "names": (), "types": {}, "targets": ()}
    return CsvSource(files, **arguments | changes)


def source(files: Sequence[str]) -> Source:
    return ParquetSource(files) if files[0].endswith(".parquet") else csv_source(files)


def delivery(**changes: object) -> Delivery:
    plain = {
        "batch_size": 4,
        "shuffle": False,
        "shuffle_batches": 3,
        "drop_remainder": False,
        "num_workers": 0,
        "pin_memory": False,
        "seed": 5,
    }
    return Delivery(**plain | changes)


def loader(
    files: Sequence[str] | Source, *, counts: Mapping[str, int] | None = None, **changes: object
) -> Loader:
    opened = files if isinstance(files, Source) else source(files)
    return Loader(opened, Assembler([], [], reserved=["row"]), delivery(**changes), counts)


@contextmanager
def small_chunks(rows: int) -> Iterator[None]:
    """Chunks of a few rows where nothing is shuffled."""
    with mock.patch.object(delivery_module, "UNSHUFFLED_ROWS", rows):
        yield


def rows(batch: Batch) -> list[int]:
    return [int(value) for value in batch.reserved.column("row").to_pylist()]


def read(loader: Loader, since: Position | None = None) -> list[tuple[list[int], Position]]:
    """The rest of an epoch: the numbers of each batch, and the position after it."""
    return [(rows(batch), after) for batch, after in loader.epoch(since or Position())]


def flat(batches: Iterable[tuple[list[int], Position]]) -> list[int]:
    return [row for numbers, _ in batches for row in numbers]


def saved(loader: Loader, position: Position) -> list[tuple[Order, Position]]:
    """Order and position as a checkpoint gives them back."""
    return [(Order.from_json(loader.order.to_json()), position)]


class Memory(Source):
    """Rows that are made when they are read; ``drawn`` counts them."""

    def __init__(self, counts: Sequence[int], *, size: int = 3) -> None:
        super().__init__([f"file{number}" for number in range(len(counts))])
        self._counts = dict(zip(self.files, counts, strict=True))
        self._size = size
        self.drawn = 0

    def columns(self, file: str) -> list[str]:
        return ["row"]

    def types(self, file: str, columns: Sequence[str]) -> list[pa.DataType]:
        return [pa.int64()] * len(columns)

    def num_rows(self, file: str) -> int:
        return self._counts[file]

    def all_rows(self) -> list[int]:
        """The numbers of all rows, which begin anew in each file."""
        return [row for file in self.files for row in range(self._counts[file])]

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        for first in range(skip, self._counts[file], self._size):
            count = min(self._size, self._counts[file] - first)
            self.drawn += count
            yield table(first, count).to_batches()[0]
