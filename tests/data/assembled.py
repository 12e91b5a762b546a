"""Chunks of Arrow rows and the batches that they become, cell by cell."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from parts import features

from tzmmoe.batch import Batch
from tzmmoe.data.encode import Assembler
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.features import FeatureSettings
from tzmmoe.jagged import Jagged

Pairs = list[tuple[int, float]]  # ids with weights


def cells(values: Sequence, lengths: Sequence | None, num_features: int) -> list[list[list]]:
    """Row by row, feature by feature, the values."""
    flat = list(values)
    if lengths is None:
        lengths = [[1] * num_features] * (len(flat) // num_features)
    rows = []
    for counts in np.asarray(lengths).reshape(-1, num_features).tolist():
        rows.append([])
        for count in counts:
            rows[-1].append(flat[:count])
            flat = flat[count:]
    assert not flat
    return rows


def cells_of(part: Jagged, num_features: int) -> list[list[Pairs]]:
    """Row by row, feature by feature, ids with weights."""
    values = part.flat
    weights = np.ones(len(values)) if part.weights is None else part.weights
    pairs = zip(values.tolist(), weights.tolist(), strict=True)
    return cells(pairs, part.lengths, num_features)


def setting(mode: str = "FG_DAG") -> FeatureSettings:
    return FeatureSettings(mode, "\x03", "MURMUR_HASH", Path())


def chunk(columns: Mapping[str, object], file_rows: Sequence[FileRows] = ()) -> Chunk:
    arrays = {n: c if isinstance(c, pa.Array) else pa.array(c) for n, c in columns.items()}
    rows = pa.RecordBatch.from_pydict(arrays)
    return Chunk(0, (rows,), tuple(file_rows) or (FileRows("a.parquet", 0, rows.num_rows),))


def ids_of(batch: Batch, place: int = 0, num_features: int = 1) -> list[list[int]]:
    """Of one of the features of width 4."""
    rows = cells_of(batch.inputs.ids[4], num_features)
    return [[each for each, _ in row[place]] for row in rows]


def encoded(texts: Sequence[str], columns: Mapping[str, object], mode: str = "FG_DAG") -> Batch:
    assembler = Assembler(features(*texts, setting=setting(mode)), ())
    (batch,) = assembler.assemble(chunk(columns)).batches(100)
    return batch


def id_text(name: str, expression: str = "", more: str = "hash_bucket_size: 100") -> str:
    named = f'feature_name: "{name}" embedding_dim: 4'
    return f'id_feature {{ {named} expression: "{expression}" {more} }}'


def chained(reader: str, helper: str, columns: Mapping[str, object]) -> Batch:
    """Of a feature that reads another, which does not enter the model."""
    made, read = (features(text, setting=setting()) for text in (reader, helper))
    (batch,) = Assembler(made, (), helpers=read).assemble(chunk(columns)).batches(100)
    return batch
