"""Predictions for a frame, in the kind of container that the frame is."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.data.frames.arrow import is_dataset, is_pandas
from tzmmoe.data.frames.frame import Frame
from tzmmoe.errors import ConfigError, did_you_mean, few


def filled(frame: Frame, outputs: Mapping[str, pa.Array], keep: Sequence[str]) -> Any:
    """The ``outputs`` for the rows of a frame, after its columns ``keep``.

    A DataFrame of pandas has the frame's index, a dict arrays of numpy, where an output of several
    numbers has two axes. Datasets and readers give a reader, other streams a table.
    """
    given = frame.given
    if is_pandas(given):
        made = given[[*keep]].copy()
        for name, array in outputs.items():
            numbers = as_numpy(array)
            made[name] = numbers if numbers.ndim == 1 else [*numbers]
        return made
    if isinstance(given, Mapping):
        kept = {name: given[name] for name in keep}
        return kept | {name: as_numpy(array) for name, array in outputs.items()}
    if type(given).__module__.partition(".")[0] == "polars":
        polars = importlib.import_module("polars")  # which the caller has imported
        made = polars.from_arrow(pa.table(dict(outputs)))
        return given.select([*keep]).hstack(made) if keep else made
    if isinstance(given, pa.RecordBatch):
        columns = {name: given.column(name) for name in keep} | dict(outputs)
        return pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])
    table = pa.table({name: frame.table[name] for name in keep} | dict(outputs))
    is_read_in_parts = is_dataset(given) or isinstance(given, pa.RecordBatchReader)
    return table.to_reader() if is_read_in_parts else table


def check_kept(frame: Frame, keep: Sequence[str]) -> None:
    """Raise ConfigError for columns to keep that the frame lacks."""
    columns = frame.table.schema.names
    for name in keep:
        if name not in columns:
            hint = did_you_mean(name, columns) or f"; its columns are {few(columns)}"
            raise ConfigError.at("keep", f"{frame.path} has no column {name!r}{hint}")


def as_numpy(array: pa.Array) -> np.ndarray:
    """(B,), or (B, C) of lists of C numbers each."""
    if pa.types.is_fixed_size_list(array.type):
        numbers = array.flatten().to_numpy(zero_copy_only=False)
        return numbers.reshape(-1, array.type.list_size)
    return array.to_numpy(zero_copy_only=False)
