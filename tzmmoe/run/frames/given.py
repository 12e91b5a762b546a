"""Frames in a run: whether they suit a checkpoint, and predictions for them."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tzmmoe.data.frames.frame import Frame
from tzmmoe.data.loader import Loader
from tzmmoe.data.quality import type_of_values
from tzmmoe.errors import ConfigError, DataError
from tzmmoe.run.session import Session
from tzmmoe.serving.predictions import prediction_columns
from tzmmoe.system.checkpoint import Checkpoint
from tzmmoe.system.localpath import MEMORY

FIELDS = {f"{MEMORY}{name}": f"{name}_input_path" for name in ("train", "eval", "test")}
# Kinds of types, by how their names in Arrow begin.
KINDS = {
    "numbers": re.compile("u?int|float|double|halffloat|bool|decimal"),
    "texts": re.compile("large_string|string|large_binary|binary|fixed_size_binary"),
    "times": re.compile("timestamp|date|time|duration"),
}


def frames_of(**given: Any) -> list[Frame]:
    """The frames that are given, by their names. Raises DataError for what is none."""
    return [Frame.of(rows, name) for name, rows in given.items() if rows is not None]


def paths_of(frames: Sequence[Frame]) -> dict[str, str]:
    """The fields of a config that name frames, with these names."""
    return {FIELDS[frame.path]: frame.path for frame in frames if frame.path in FIELDS}


def is_path(given: Any) -> bool:
    """Whether an argument that may be a frame is the path of files."""
    return isinstance(given, str | os.PathLike)


def check_for_frame(predict_output_path: str | None, reserved_columns: Sequence[str]) -> None:
    """Raise ConfigError for arguments that concern predictions for files only."""
    if predict_output_path is not None:
        words = "is for files; predict returns the predictions for a frame, so leave it out"
        raise ConfigError.at("predict_output_path", words)
    if reserved_columns:
        raise ConfigError.at("reserved_columns", "is for files; name columns of a frame in keep")


def check_for_files(predict_output_path: str | None, keep: Sequence[str]) -> None:
    """Raise ConfigError for arguments that do not suit predictions for files."""
    if predict_output_path is None:
        words = "is not set; give the .parquet or .csv file to write, or pass a frame"
        raise ConfigError.at("predict_output_path", words)
    if keep:
        raise ConfigError.at("keep", "is for frames; name columns of files in reserved_columns")


def check_kinds(loader: Loader, saved: Checkpoint) -> None:
    """Raise DataError for columns of a frame whose values are of another kind than those that the
    checkpoint was trained on: texts where numbers were, or times.

    Numbers may stand where CSV files had texts, since every cell of those is one.
    """
    trained: Mapping[str, Sequence[str]] = (saved.state.get("quality") or {}).get("types", {})
    had_csv = saved.state.get("csv_quoting", "AUTO") != "AUTO"
    needed, source, faults = loader.assembler.needed, loader.source, []
    for name, kind in zip(needed, source.types(source.files[0], needed), strict=True):
        now, before = _kind(str(type_of_values(kind))), sorted({*map(_kind, trained.get(name, ()))})
        before = [each for each in before if each != "null"]
        is_same = now == "null" or not before or now in before
        if not (is_same or (had_csv and before == ["texts"])):
            words = f"holds {now}, but held {' and '.join(before)} in training"
            faults.append(f"{source.files[0]}, column {name!r}: {words}; convert it")
    if faults:
        raise DataError("\n".join(faults))


def predictions(
    session: Session, loader: Loader, chosen: Sequence[str] | None, keep: Sequence[str] = ()
) -> dict[str, pa.Array]:
    """The ``chosen`` outputs, None: all, of all rows in their order, in each process.

    Raises:
        ConfigError: there is no such output, or a column to ``keep`` has the name of one.
    """
    parts = []
    for batch in session.batches(loader):
        parts.append(prediction_columns(session.outputs(batch), batch.reserved, chosen))
        if clashes := sorted(parts[0].keys() & {*keep}):
            words = f"{', '.join(clashes)} is also the name of an output; rename the column"
            raise ConfigError.at("keep", words)
    # Of rows that are not shuffled, the processes read one stretch each, in the order of ranks.
    by_rank: list[dict[str, Any]] = session.runtime.world.gather(
        {name: pa.concat_arrays([part[name] for part in parts]) for name in parts[0]}
    )
    return {name: pa.concat_arrays([each[name] for each in by_rank]) for name in by_rank[0]}


def _kind(name: str) -> str:
    """The kind of a type; a type of none is one of its own."""
    return next((kind for kind, begins in KINDS.items() if begins.match(name)), name)
