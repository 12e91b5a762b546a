"""Predictions -> a Parquet or CSV file, complete or not there."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.data.reading.files import COMPRESSED, KINDS
from tzmmoe.errors import ConfigError, DataError, did_you_mean
from tzmmoe.features.column import decoded
from tzmmoe.system.world import World

# Written together, as a row group; what comes first counts.
ROWS = 1 << 16
BYTES = 64 << 20
BYTES_TYPES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


class PredictionWriter:
    """Writes rows aside; leaving the block renames the file, leaving it by an error removes it.

    A path that ends in ``.parquet`` or ``.csv`` is a file; any other is a folder that gets
    ``part-0.parquet``, and a part for each further process of a ``world``. A file of that name is
    replaced, at the end and at once, and once all processes have written all their rows. Several
    numbers of one cell are a list in Parquet, joined by ``|`` in CSV. ``reads`` are files that are
    read meanwhile, which it does not replace.
    """

    def __init__(
        self, path: str | Path, reads: Sequence[str] = (), world: World | None = None
    ) -> None:
        self._world = known = world or World()
        self.path = known.each(lambda: output_file(path, reads, known))
        self.name = self.path if self._world.size == 1 else self.path.parent
        self.num_rows = 0
        self._aside = self.path.parent / f".writing-{self.path.name}"
        self._sink: pa.NativeFile | None = None
        self._writer: pq.ParquetWriter | csv.CSVWriter | None = None
        self._schema: pa.Schema | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0  # of those that wait

    def __enter__(self) -> "PredictionWriter":
        with self._naming_the_file():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = pa.OSFile(str(self._aside), "wb")
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        try:
            if kind is None:
                self._world.gather(None)  # none is replaced when a process fails
            if kind is None and self._schema is not None:
                with self._naming_the_file():
                    self._finish()
        finally:
            for opened in (self._writer, self._sink):
                with suppress(OSError, pa.ArrowException):
                    if opened:
                        opened.close()
            self._aside.unlink(missing_ok=True)

    def write(self, columns: Mapping[str, pa.Array], num_rows: int) -> None:
        """Add rows. The first call fixes names and types, also with no rows."""
        arrays = [_plain(array) for array in columns.values()]
        if self.path.suffix == ".csv":
            arrays = [self._cells(name, array) for name, array in columns.items()]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
        self._check_types(batch.schema)
        self._waiting.append(batch)
        self._rows += num_rows
        self._bytes += batch.nbytes
        self.num_rows += num_rows
        if self._rows >= ROWS or self._bytes >= BYTES:
            with self._naming_the_file():
                self._flush()

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.path}: cannot be written: {error}") from error

    def _cells(self, name: str, array: pa.Array) -> pa.Array:
        """What stands in the cells of a CSV file."""
        try:
            cells = _joined(decoded(array))
            if any(test(cells.type) for test in BYTES_TYPES):
                cells = cells.cast(pa.binary()).cast(pa.string())
        except pa.ArrowNotImplementedError:
            cells = array
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{self.path}: CSV cannot hold the column {name!r}, whose bytes are no text in "
                "UTF-8; write .parquet, or leave the column out"
            ) from error
        if pa.types.is_nested(cells.type):
            raise DataError(
                f"{self.path}: CSV cannot hold the column {name!r}, which is {array.type}; write "
                ".parquet, or leave the column out"
            )
        return cells

    def _check_types(self, schema: pa.Schema) -> None:
        if self._schema is None:
            self._schema = schema
        for first, field in zip(self._schema, schema, strict=True):
            if first.type != field.type:
                raise DataError(
                    f"{self.path}: the input has the column {field.name!r} as {first.type} and as "
                    f"{field.type}; store it as one type, or leave the column out"
                )

    def _flush(self) -> None:
        if self._writer is None:
            make = csv.CSVWriter if self.path.suffix == ".csv" else pq.ParquetWriter
            self._writer = make(self._sink, self._schema)
        self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._rows, self._bytes = [], 0, 0

    def _finish(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()
        self._sink.close()
        with self._aside.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(self._aside, self.path)


def output_file(path: str | Path, reads: Sequence[str] = (), world: World | None = None) -> Path:
    """The file that an output path stands for, in this process of a ``world``.

    Raises:
        DataError: a kind of file that is not written, a folder that holds other predictions, or
            one of the files ``reads``.
    """
    target = _target(Path(path), world or World())
    for file in reads if target.is_file() else ():
        if os.path.samefile(file, target):
            raise DataError(f"{file}: is read and would be replaced; name another output")
    return target


def _target(path: Path, world: World) -> Path:
    if path.suffix in (".parquet", ".csv"):
        if world.size > 1:
            raise DataError(
                f"{path}: is one file, but {world.size} processes write a part each; name a folder"
            )
        if path.is_dir():
            raise DataError(f"{path}: is a folder; name a file in it")
        return path
    if path.is_file() or path.suffix.lower() in (*KINDS, *COMPRESSED):
        raise DataError(f"{path}: is no name of a .parquet or .csv file, nor of a folder")
    parts = [path / f"part-{rank}.parquet" for rank in range(world.size)]
    others = sorted(each.name for each in path.glob("*.parquet") if each not in parts)
    if others:
        raise DataError(
            f"{path}: holds {others[0]}, which would be taken for a part of these predictions; "
            "name a new folder, or a file"
        )
    return parts[world.rank]


def write_predictions(
    batches: Iterable[Batch],
    outputs: Callable[[Batch], Mapping[str, Tensor]],
    writer: PredictionWriter,
    chosen: Sequence[str] | None = None,
) -> None:
    """Predict batch after batch into a file: reserved columns, then the ``chosen`` outputs."""
    for batch in batches:
        writer.write(prediction_columns(outputs(batch), batch.reserved, chosen), len(batch))


def prediction_columns(
    outputs: Mapping[str, Tensor], reserved: pa.RecordBatch, chosen: Sequence[str] | None
) -> dict[str, pa.Array]:
    """Reserved columns, then outputs. ``chosen`` outputs, or all of them.

    Raises:
        ConfigError: there is no such output, or a reserved column has the name of one.
    """
    names = list(outputs) if chosen is None else list(chosen)
    if not names:
        raise ConfigError.at("output_columns", f"is empty; there are {', '.join(outputs)}")
    for name in names:
        if name not in outputs:
            hint = did_you_mean(name, outputs) or f"; there are {', '.join(outputs)}"
            raise ConfigError.at("output_columns", f"{name!r} is no output{hint}")
    both = sorted(set(names) & set(reserved.schema.names))
    if both:
        raise ConfigError.at(
            "reserved_columns",
            f"{', '.join(both)} is the name of an output too; leave it out, or choose others with "
            "output_columns",
        )
    columns = dict(zip(reserved.schema.names, reserved.columns, strict=True))
    return columns | {name: _array(outputs[name]) for name in names}


def _array(output: Tensor) -> pa.Array:
    values = output.detach().cpu().numpy()
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _plain(array: pa.Array) -> pa.Array:
    """Without dictionary, whose words differ from batch to batch."""
    if pa.types.is_dictionary(array.type):
        return array.cast(array.type.value_type)
    return array


def _joined(array: pa.Array) -> pa.Array:
    """Lists as text; a null in a list is an empty part."""
    kind = array.type
    if not (
        pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
    ):
        return array
    lists = array.cast(pa.list_(kind.value_type)).take(pa.array(np.arange(len(array))))
    texts = pc.fill_null(lists.values.cast(pa.string()), "")
    lists = pa.ListArray.from_arrays(lists.offsets, texts, mask=lists.is_null())
    return pc.binary_join(lists, "|")
