"""Writing predictions to a Parquet or CSV file that is either complete or absent."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.data.reading.files import KINDS
from tzmmoe.data.reading.stream import COMPRESSED
from tzmmoe.errors import ConfigError, DataError, UserError, did_you_mean
from tzmmoe.features.column import decoded
from tzmmoe.system.durable import check_writable, claimed, put, unwritable
from tzmmoe.system.environment import SIGNALS
from tzmmoe.system.lock import BusyError
from tzmmoe.system.world import World

# A row group is written as soon as it has this many rows or bytes.
ROWS = 1 << 16
BYTES = 64 << 20
# Endings of files that are not written; a folder of that name would not be what was meant.
OTHER_FILES = {
    *(
        ".json",
        ".jsonl",
        ".ndjson",
        ".txt",
        ".tsv",
        ".dat",
        ".inter",
        ".parq",
        ".pq",
        ".xml",
        ".html",
    ),
    *(".feather", ".arrow", ".ipc", ".orc", ".avro", ".h5", ".hdf5", ".npy", ".npz", ".pt", ".pth"),
    *(".pkl", ".pickle", ".xls", ".xlsx", ".ods", ".db", ".sqlite", ".tfrecord", ".safetensors"),
    *(".md", ".log", ".zip", ".tar", ".tgz", ".7z", ".yaml", ".yml", ".config", ".proto"),
}
BYTES_TYPES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


class PredictionWriter:
    """Writes rows to a temporary file: renamed when the block ends, removed if it raises, with the
    folders that were made for it. In a command, a signal waits for the next ``write``.

    A path that ends in ``.parquet`` or ``.csv`` is a file; any other path is a folder, which gets
    ``part-0.parquet`` and one part for each further process of ``world``. An existing file is
    replaced atomically, once all processes have written all their rows. A cell of several numbers
    is a list in Parquet, and joined by ``|`` in CSV. ``reads``: input files, which must not be
    replaced.
    """

    def __init__(
        self, path: str | Path, reads: Sequence[str] = (), world: World | None = None
    ) -> None:
        self._world = world = world or World()
        self.path = world.each(lambda: output_file(path, reads, world))
        self.name = self.path if world.size == 1 else self.path.parent
        self.num_rows = 0
        self._held = ExitStack()
        self._stop_if_asked: Callable[[], None] = lambda: None
        self._aside: Path | None = None
        self._sink: pa.NativeFile | None = None
        self._writer: pq.ParquetWriter | csv.CSVWriter | None = None
        self._schema: pa.Schema | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0  # of the batches in ``_waiting``

    def __enter__(self) -> "PredictionWriter":
        self._stop_if_asked = self._held.enter_context(SIGNALS.held())
        try:
            self._world.each(self._open)
        except UserError:
            self._let_go()
            raise
        return self

    def _open(self) -> None:
        """Raises DataError if somebody else writes the file, or if it cannot be written."""
        with self._naming_the_file():
            self._aside = self._held.enter_context(claimed(self.path))
            self._sink = pa.OSFile(str(self._aside), "wb")

    def __exit__(self, kind: type | None, *error: object) -> None:
        try:
            if kind is None:
                self._world.gather(None)  # wait for all: if one fails, no file is replaced
            if kind is None and self._schema is not None:
                with self._naming_the_file():
                    self._finish()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Delete the temporary file, and folders that were made in vain."""
        for stream in (self._writer, self._sink):
            with suppress(OSError, pa.ArrowException):
                if stream:
                    stream.close()
        with suppress(OSError):
            self._held.close()

    def write(self, columns: Mapping[str, pa.Array], num_rows: int) -> None:
        """Add rows. The first call, even one without rows, fixes the columns' names and types."""
        self._stop_if_asked()
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
        except BusyError as error:
            words = "wait for it, or choose another output path"
            raise DataError(f"{self.path}: is being written by {error}; {words}") from error
        except (OSError, pa.ArrowException) as error:
            raise DataError(unwritable(self.path, error)) from error

    def _cells(self, name: str, array: pa.Array) -> pa.Array:
        """A column in the form that it takes in a CSV file."""
        try:
            cells = _joined(decoded(array))
            if any(test(cells.type) for test in BYTES_TYPES):
                cells = cells.cast(pa.binary()).cast(pa.string())
        except pa.ArrowNotImplementedError:
            cells = array
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{self.path}: CSV cannot hold column {name!r}, whose bytes are not UTF-8; write a "
                ".parquet file, or leave the column out"
            ) from error
        if pa.types.is_nested(cells.type):
            raise DataError(
                f"{self.path}: CSV cannot hold column {name!r} of type {array.type}; write a "
                ".parquet file, or leave the column out"
            )
        return cells

    def _check_types(self, schema: pa.Schema) -> None:
        if self._schema is None:
            self._schema = schema
        for first, field in zip(self._schema, schema, strict=True):
            if first.type != field.type:
                raise DataError(
                    f"{self.path}: column {field.name!r} is {first.type} in one input file and "
                    f"{field.type} in another; store it as one type, or leave it out"
                )

    def _flush(self) -> None:
        if self._writer is None:
            make = csv.CSVWriter if self.path.suffix == ".csv" else pq.ParquetWriter
            self._writer = make(self._sink, self._schema)
        # Arrow before 24 repeats rows in CSV after a batch that has none.
        waiting = [batch for batch in self._waiting if batch.num_rows]
        self._writer.write_table(pa.Table.from_batches(waiting, self._schema))
        self._waiting, self._rows, self._bytes = [], 0, 0

    def _finish(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()
        self._sink.close()
        put(self._aside, self.path)


def output_file(path: str | Path, reads: Sequence[str] = (), world: World | None = None) -> Path:
    """The file that this process of ``world`` writes for an output path.

    Raises:
        DataError: the path has an unsupported suffix, is a folder with other predictions, or is one
            of the input files ``reads``.
    """
    target = _target(Path(path), world or World())
    for file in reads if target.is_file() else ():
        if os.path.samefile(file, target):
            raise DataError(
                f"{file}: is an input and would be replaced; choose another output path"
            )
    return target


def check_form(path: str | Path, where: str = "") -> None:
    """Raise DataError unless a path has the form of an output, and ConfigError at ``where`` if
    nothing can be written there: before anything else is done."""
    path = Path(path)
    is_other = path.suffix.lower() in (*KINDS, *COMPRESSED, *OTHER_FILES) or path.is_file()
    if is_other and path.suffix not in (".parquet", ".csv"):
        raise DataError(
            f"{path}: {path.suffix or 'such'} files are not written; give a .parquet or .csv file, "
            "or a folder, which gets a .parquet file of each process"
        )
    check_writable(path, where, is_folder=path.suffix not in (".parquet", ".csv"))


def _target(path: Path, world: World) -> Path:
    check_form(path)
    if path.suffix in (".parquet", ".csv"):
        if world.size > 1:
            raise DataError(
                f"{path}: {world.size} processes cannot write to a single file; choose a folder"
            )
        if path.is_dir():
            raise DataError(f"{path}: is a folder; choose a file in it")
        return path
    parts = [path / f"part-{rank}.parquet" for rank in range(world.size)]
    others = sorted(file.name for file in path.glob("*.parquet") if file not in parts)
    if others:
        raise DataError(
            f"{path}: already contains {others[0]}, which would pass for a part of these "
            "predictions; choose a new folder, or a file"
        )
    return parts[world.rank]


def write_predictions(
    batches: Iterable[Batch],
    outputs: Callable[[Batch], Mapping[str, Tensor]],
    writer: PredictionWriter,
    chosen: Sequence[str] | None = None,
) -> None:
    """Score batches and write, for each row, reserved columns, then the ``chosen`` outputs."""
    for batch in batches:
        writer.write(prediction_columns(outputs(batch), batch.reserved, chosen), len(batch))


def prediction_columns(
    outputs: Mapping[str, Tensor], reserved: pa.RecordBatch, chosen: Sequence[str] | None
) -> dict[str, pa.Array]:
    """Reserved columns, then the ``chosen`` outputs; None: all outputs.

    Raises:
        ConfigError: there is no such output, or a reserved column has the name of one.
    """
    names = list(outputs) if chosen is None else list(chosen)
    if not names:
        raise ConfigError.at("output_columns", f"is empty; choose from {', '.join(outputs)}")
    for name in names:
        if name not in outputs:
            hint = did_you_mean(name, outputs) or f"; choose from {', '.join(outputs)}"
            raise ConfigError.at("output_columns", f"{name!r} is not an output{hint}")
    clashes = sorted(set(names) & set(reserved.schema.names))
    if clashes:
        raise ConfigError.at(
            "reserved_columns",
            f"{', '.join(clashes)} is also the name of an output; leave it out, or choose other "
            "outputs with output_columns",
        )
    columns = dict(zip(reserved.schema.names, reserved.columns, strict=True))
    return columns | {name: _array(outputs[name]) for name in names}


def _array(output: Tensor) -> pa.Array:
    values = output.detach().cpu().numpy()
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _plain(array: pa.Array) -> pa.Array:
    """The column without a dictionary, which may differ from batch to batch."""
    if pa.types.is_dictionary(array.type):
        return array.cast(array.type.value_type)
    return array


def _joined(array: pa.Array) -> pa.Array:
    """Lists joined into texts, a null in one as an empty part; other columns unchanged."""
    kind = array.type
    if not (
        pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
    ):
        return array
    # Taking all rows rebuilds the offsets, which in a slice do not begin at 0.
    lists = array.cast(pa.list_(kind.value_type)).take(pa.array(np.arange(len(array))))
    texts = pc.fill_null(lists.values.cast(pa.string()), "")
    lists = pa.ListArray.from_arrays(lists.offsets, texts, mask=lists.is_null())
    return pc.binary_join(lists, "|")
