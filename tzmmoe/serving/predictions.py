"""Predictions -> a Parquet or CSV file, complete or not there."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.errors import ConfigError, DataError, did_you_mean

ROWS = 1 << 16  # of a row group


class PredictionWriter:
    """Writes rows aside; ``close`` renames the file, leaving the block by an error removes it.

    A path that ends in ``.parquet`` or ``.csv`` is a file; any other is a folder that gets
    ``part-0.parquet``. Several numbers of one cell are a list in Parquet, joined by ``|`` in CSV.
    """

    def __init__(self, path: str | Path) -> None:
        target = Path(path)
        if target.suffix not in (".parquet", ".csv"):
            target = target / "part-0.parquet"
        self.path = target
        self._aside = target.parent / f".writing-{target.name}"
        self._writer: pq.ParquetWriter | csv.CSVWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self.num_rows = 0

    def __enter__(self) -> "PredictionWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error}") from error
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind is None:
            self._flush()
        if self._writer:
            self._writer.close()
        if kind is None and self._aside.exists():
            os.replace(self._aside, self.path)
        else:
            self._aside.unlink(missing_ok=True)

    def write(self, columns: Mapping[str, pa.Array], num_rows: int) -> None:
        """Add rows. The first call fixes names and types, also with no rows."""
        arrays = [_plain(array) for array in columns.values()]
        if self.path.suffix == ".csv":
            arrays = [_joined(array) for array in arrays]
        self._waiting.append(pa.RecordBatch.from_arrays(arrays, names=list(columns)))
        self.num_rows += num_rows
        if sum(batch.num_rows for batch in self._waiting) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting)
        try:
            if self._writer is None:
                make = csv.CSVWriter if self.path.suffix == ".csv" else pq.ParquetWriter
                self._writer = make(str(self._aside), table.schema)
            self._writer.write_table(table)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.path}: cannot be written: {error}") from error
        self._waiting = []


def write_predictions(
    batches: Iterable[Batch],
    outputs: Callable[[Batch], Mapping[str, Tensor]],
    path: str | Path,
    chosen: Sequence[str] | None = None,
) -> PredictionWriter:
    """Predict batch after batch into a file: reserved columns, then the ``chosen`` outputs."""
    with PredictionWriter(path) as writer:
        for batch in batches:
            writer.write(prediction_columns(outputs(batch), batch.reserved, chosen), len(batch))
    return writer


def prediction_columns(
    outputs: Mapping[str, Tensor], reserved: pa.RecordBatch, chosen: Sequence[str] | None
) -> dict[str, pa.Array]:
    """Reserved columns, then outputs. ``chosen`` outputs, or all of them.

    Raises:
        ConfigError: there is no such output, or a reserved column has the name of one.
    """
    names = list(outputs) if chosen is None else list(chosen)
    for name in names:
        if name not in outputs:
            hint = did_you_mean(name, outputs) or f"; there are {', '.join(outputs)}"
            raise ConfigError.at("output_columns", f"{name!r} is no output{hint}")
    both = sorted(set(names) & set(reserved.schema.names))
    if both:
        raise ConfigError.at("reserved_columns", f"{', '.join(both)} is the name of an output too")
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
    kind = array.type
    if not (
        pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
    ):
        return array
    texts = array.cast(pa.list_(kind.value_type)).cast(pa.list_(pa.string()))
    return pc.binary_join(texts, "|")
